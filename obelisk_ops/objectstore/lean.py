"""
Small questions without what boto3 does around each request.

A barrier ends with a small GET, and somebody waits for it: of the time that a local server
takes, boto3 adds two thirds, and urllib3 below it as much again as is left. Here a request is
signed by botocore and sent as bytes over a connection that urllib3 has opened and keeps; where
none is open, or a proxy stands between, urllib3 sends it. What is not plainly answered is asked
again through the client, which knows of redirects, refusals and what they are called.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit

from botocore import exceptions as driver
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

from obelisk_ops.core import http
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.http import Reply
from obelisk_ops.objectstore.exchange import Exchange, Pool
from obelisk_ops.objectstore.hearing import hear
from obelisk_ops.objectstore.meter import count_request

if TYPE_CHECKING:
    from botocore.credentials import Credentials, ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client

Method = Literal["GET", "HEAD"]

#: Whoever waited for an answer in vain does not wait for another one.
_SLOW = (driver.ReadTimeoutError, driver.ConnectTimeoutError)
_OK = 200
#: S3 takes a signature for a quarter of an hour, less what the two clocks differ.
_SIGNED_MS = 60_000
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A request, what was wanted, and until when it is sent as it is."""

    wanted: tuple[Method, str, ReadOnlyCredentials]
    request: AWSRequest
    until_ms: int


class Lean:
    """Asks one bucket, as one S3Client would."""

    def __init__(
        self, client: S3Client, bucket: str, credentials: Credentials | None, timeout_s: float
    ) -> None:
        """Describe whom to ask; without *credentials* nobody is asked."""
        self._endpoint = client.meta.endpoint_url.rstrip("/")
        self._place = f"{self._endpoint}/{quote(bucket)}/"
        self._host = _host(self._endpoint)
        self._region = client.meta.region_name
        self._credentials, self._timeout_s = credentials, timeout_s
        # There is no other way to its connections, proxies and certificates.
        self._session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001
        self._kept: _Signed | None = None
        self._pool = _pool(self._session, self._endpoint)

    def ask(self, method: Method, key: str) -> Reply | None:
        """
        Return the answer if it is 200; None if the client had better ask.

        Raises:
            driver.HTTPClientError: There was none in time.
        """
        if self._credentials is None:
            return None
        signed = self._signed(method, key, self._credentials.get_frozen_credentials())
        count_request()
        try:
            return self._plain(self._exchanged(signed) or self._send(signed))
        except _SLOW:
            raise
        except TimeoutError as late:
            raise driver.ReadTimeoutError(endpoint_url=self._endpoint, error=late) from late
        except (driver.HTTPClientError, OSError, ValueError):
            return None  # a connection that the server had closed, or an answer of its own kind

    def begin(self, key: str) -> Exchange | None:
        """
        Send a GET without waiting for anything; None, and nothing is sent, if that cannot be.

        It can be while a signature is young and a connection is open: after an ``ask``.
        """
        kept = self._kept
        if kept is None or kept.wanted[1] != key or _CLOCK.elapsed_ms() >= kept.until_ms:
            return None
        with suppress(OSError):
            exchange = self._begin(kept, waits=False)
            if exchange is not None:
                count_request()
            return exchange
        return None

    def receive(self, exchange: Exchange) -> Reply | None:
        """
        Return the answer to what was begun; None as long as more has to come.

        Raises:
            OSError: The connection was broken.
            ValueError: The client had better ask.
        """
        reply = self._received(exchange)
        if reply is not None and self._plain(reply) is None:
            raise ValueError(f"answered with {reply.status}")
        return reply

    def _signed(self, method: Method, key: str, by: ReadOnlyCredentials) -> _Signed:
        """Return a request; the same one again if it is young, for S3 takes it for minutes."""
        kept, now_ms = self._kept, _CLOCK.elapsed_ms()
        wanted = (method, key, by)
        if kept is None or kept.wanted != wanted or now_ms >= kept.until_ms:
            request = AWSRequest(method=method, url=self._place + quote(key, safe="/~"))
            S3SigV4Auth(by, "s3", self._region).add_auth(request)
            kept = _Signed(wanted=wanted, request=request, until_ms=now_ms + _SIGNED_MS)
            if method == "GET":
                self._kept = kept  # the lease; what is looked for once does not come again
        return kept

    def _send(self, signed: _Signed) -> Reply:
        """Send a request as botocore does, which opens a connection if need be."""
        answer = self._session.send(signed.request.prepare())
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status_code, headers, answer.content)

    def _exchanged(self, signed: _Signed) -> Reply | None:
        exchange = self._begin(signed, waits=True)
        if exchange is None:
            return None
        with closing(exchange):
            return self._received(exchange)

    def _begin(self, signed: _Signed, *, waits: bool) -> Exchange | None:
        if self._pool is None:
            return None
        return Exchange.begin(
            self._pool, self._bytes(signed), has_body=signed.wanted[0] != "HEAD",
            timeout_s=self._timeout_s, waits=waits,
        )  # fmt: skip

    def _received(self, exchange: Exchange) -> Reply | None:
        try:
            return exchange.receive()
        except ValueError:
            self._pool = None  # a server that answers so will do it again
            raise

    def _plain(self, reply: Reply) -> Reply | None:
        """Return an answer that needs no more understanding, and hear what time it tells."""
        hear(reply.headers)
        is_s3 = "etag" in reply.headers and "last-modified" in reply.headers
        return reply if reply.status == _OK and is_s3 else None

    def _bytes(self, signed: _Signed) -> bytes:
        headers = {"Host": self._host, **signed.request.headers}
        target = str(signed.request.url).removeprefix(self._endpoint)
        return http.request(signed.wanted[0], target, headers)


def _host(url: str) -> str:
    """Return the host of an address as it is signed: without a port that needs no saying."""
    parts = urlsplit(url)
    return parts.netloc.lower().removesuffix(":443" if parts.scheme == "https" else ":80")


def _pool(session: Any, url: str) -> Pool | None:  # noqa: ANN401 - botocore's inside
    """Return where the connections to an address are kept; None behind a proxy."""
    if session._proxy_config.proxy_url_for(url):  # noqa: SLF001
        return None
    return session._manager.connection_from_url(url)  # noqa: SLF001
