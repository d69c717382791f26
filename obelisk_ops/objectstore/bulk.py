"""
Thousands of objects at once, through obstore, whose requests are made outside of Python.

The beginnings of 10,000 objects cost boto3 15 s of processor time, which Python spends one
after the other, and this 2 s; a listing of as many costs 0.6 s and 0.06 s. It only makes
things quick: what fails here is asked again through boto3, whose errors are told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import obstore
import obstore.store
from obstore.exceptions import BaseError

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.objectstore.client import is_loopback
from obelisk_ops.objectstore.meter import count_request
from obelisk_ops.objectstore.port import ObjectInfo
from obelisk_ops.objectstore.s3 import S3Store
from obelisk_ops.settings import Credentials, ReplicaSettings, variable

if TYPE_CHECKING:
    from obstore.store import S3Credential

T = TypeVar("T")

#: What may go wrong: its own errors, and those of Python that it uses too.
_FAILURES = (BaseError, OSError, ValueError)

#: Enough to hide the way to a distant bucket; what a near one answers is limited by itself.
_REQUESTS_AT_ONCE = 64
_PAGE = 1000
_ASK_AGAIN_AFTER_MS = 60_000
#: Keys that mean to obstore what they mean to S3; it encodes some characters of others.
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")

#: Attributes of an object that are no metadata.
_HEADERS = frozenset(
    {
        "Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language",
        "Content-Type", "Storage-Class",
    }
)  # fmt: skip
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
#: Fewer are read as quickly without it.
_FEW = 32

_Ask: TypeAlias = Callable[[], Credentials | None]


class BulkStore(S3Store):
    """See ObjectStore: one bucket, for who lists and reads thousands of its objects."""

    def __init__(self, replica: ReplicaSettings, *, timeout_s: float, attempts: int) -> None:
        super().__init__(replica, timeout_s=timeout_s, attempts=attempts)
        self._region = replica.region
        self._timeout_s = timeout_s

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore.list. The first page comes from boto3: most need no other."""
        seen, last = 0, after
        for info in islice(super().list(prefix, after=after), _PAGE):
            yield info
            seen, last = seen + 1, info.key
        if seen < _PAGE:
            return
        try:
            for info in self._bulk.list(prefix, after=last):
                yield info
                last = info.key
        except _FAILURES:
            yield from super().list(prefix, after=last)

    def beginnings(self, keys: Sequence[str], size: int) -> dict[str, bytes]:
        """See ObjectStore.beginnings."""
        read = self._in_bulk(keys, lambda bulk, key: bulk.beginning(key, size))
        return read | super().beginnings([key for key in keys if key not in read], size)

    def notes(self, keys: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """See ObjectStore.notes."""
        read = self._in_bulk(keys, _Bulk.notes)
        return read | super().notes([key for key in keys if key not in read])

    def _in_bulk(self, keys: Sequence[str], read: Callable[[_Bulk, str], T]) -> dict[str, T]:
        if len(keys) < _FEW:
            return {}
        try:
            bulk = self._bulk
        except _FAILURES:
            return {}
        found = zip(keys, bulk.each(keys, partial(read, bulk)), strict=True)
        return {key: value for key, value in found if value is not None}

    @cached_property
    def _bulk(self) -> _Bulk:
        if is_loopback(self.address) and any(map(variable, _PROXIES)):
            raise ValueError("obstore would ask the proxy for this machine itself")
        return _Bulk(
            self._bucket, endpoint=self.address, region=self._region, ask=self.credentials,
            timeout_s=self._timeout_s,
        )  # fmt: skip


class _Bulk:
    """One bucket at one endpoint, through obstore; for many threads."""

    def __init__(
        self, bucket: str, *, endpoint: str, region: str, ask: _Ask, timeout_s: float
    ) -> None:
        """
        Send nothing yet.

        Args:
            bucket: The bucket.
            endpoint: Its address; never left to the environment, which obstore reads too.
            region: Its region.
            ask: Tells the credentials; asked again every minute, for they may expire.
            timeout_s: How long one attempt waits for an answer.
        """
        self._ask = ask
        self._store = obstore.store.S3Store(
            bucket,
            endpoint=endpoint,
            region=region,
            virtual_hosted_style_request=False,
            credential_provider=self._credentials,
            client_options={"allow_http": True, "timeout": f"{timeout_s:g}s"},
            retry_config={"max_retries": 1},
        )

    def list(self, prefix: str, *, after: str) -> Iterator[ObjectInfo]:
        """
        Return what follows in a listing; see ObjectStore.list.

        Raises:
            BaseError: Or another of _FAILURES; what was returned until then is right.
        """
        _refuse_unusual(prefix, after)
        for page in obstore.list(self._store, prefix, offset=after, chunk_size=_PAGE):
            count_request()
            for item in page:
                yield ObjectInfo(
                    key=item["path"],
                    size=item["size"],
                    modified_ms=round(item["last_modified"].timestamp() * 1000),
                    etag=item["e_tag"] or "",
                )

    def each(self, keys: Sequence[str], read: Callable[[str], T]) -> Iterator[T | None]:
        """Return what *read* makes of each key, in their order; None if that is not known."""
        broken = Event()

        def one(key: str) -> T | None:
            if broken.is_set():
                return None
            try:
                _refuse_unusual(key)
                return read(key)
            except FileNotFoundError:
                return None
            except _FAILURES:
                broken.set()  # or each of thousands waits for its own end of patience
                return None

        for _ in keys:
            count_request()  # here: whom it is for is known to this thread alone
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(keys) or 1)) as pool:
            yield from pool.map(one, keys)

    def beginning(self, key: str, size: int) -> bytes:
        """Return the first bytes of an object; raises one of _FAILURES."""
        return bytes(obstore.get_range(self._store, key, start=0, length=size))

    def notes(self, key: str) -> dict[str, str]:
        """Return the metadata of an object; raises one of _FAILURES."""
        found = obstore.get(self._store, key, options={"head": True}).attributes
        return {str(name): value for name, value in found.items() if name not in _HEADERS}

    def _credentials(self) -> S3Credential:
        found = self._ask()
        if found is None:
            raise ValueError("no credentials")
        until_ms = SystemClock().now_ms() + _ASK_AGAIN_AFTER_MS
        return {
            "access_key_id": found.access_key_id,
            "secret_access_key": found.secret_access_key,
            "token": found.session_token,
            "expires_at": datetime.fromtimestamp(until_ms / 1000, UTC),
        }


def _refuse_unusual(*keys: str) -> None:
    if not all(_PLAIN.fullmatch(key) for key in keys):
        raise ValueError("a key that obstore would change")
