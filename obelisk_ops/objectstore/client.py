"""How boto3 is set up here: credentials, waiting, addresses, and what all clients share."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import get_session
from botocore.utils import parse_timestamp

from obelisk_ops.objectstore.hearing import hear_answer
from obelisk_ops.objectstore.meter import count_request
from obelisk_ops.settings import ReplicaSettings, credentials

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_S = 3.0
_CONNECTIONS_MAX = 32
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Descriptions(Loader):
    """What botocore reads of S3 in its own files: 15 MB once parsed, for all clients."""

    @property
    def search_paths(self) -> list[str]:
        """Return a copy of where it reads: each session of boto3 adds its own folder."""
        return list(super().search_paths)


_DESCRIPTIONS = _Descriptions()
#: Six threads that read them at once would have them six times.
_OPENING = threading.Lock()


def open_session(replica: ReplicaSettings) -> boto3.Session:
    """
    Return a session with the credentials of *replica*, or those that the platform provides.

    Raises:
        CredentialsError: Those that are named can't be read.
    """
    pair = credentials(replica)
    core = get_session()
    core.register_component("data_loader", _DESCRIPTIONS)
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_moment)
    return boto3.Session(
        botocore_session=core,
        aws_access_key_id=pair.access_key_id if pair else None,
        aws_secret_access_key=pair.secret_access_key if pair else None,
        aws_session_token=pair.session_token if pair else None,
    )


def open_client(
    session: boto3.Session, replica: ReplicaSettings, timeout_s: float, attempts: int
) -> S3Client:
    """Return a client that waits *timeout_s* for an answer and asks *attempts* times."""
    config = Config(
        region_name=replica.region,
        connect_timeout=min(_CONNECT_TIMEOUT_S, timeout_s),
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=_CONNECTIONS_MAX,
        s3={"addressing_style": "path" if replica.endpoint else "auto"},
        # The newer default trailers are not understood by every compatible server.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]  # settings decide
        # Like Litestream's, our requests to this machine itself pass by any proxy.
        proxies={} if is_loopback(replica.endpoint) else None,
        user_agent_extra="obelisk-ops",
    )
    with _OPENING:
        client = session.client("s3", endpoint_url=replica.endpoint, config=config)
    client.meta.events.register("before-send.s3", count_request)
    client.meta.events.register("response-received.s3", hear_answer)
    return client


def is_loopback(endpoint: str | None) -> bool:
    """Tell whether an address is that of this machine itself."""
    return endpoint is not None and urlsplit(endpoint).hostname in _LOOPBACK


def _moment(text: str) -> datetime:
    # In listings it is ISO 8601. botocore tries every form there is for each object, which
    # takes most of reading a listing.
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    return parse_timestamp(text)
