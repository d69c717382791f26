"""The port over boto3. Imported by the first ``open_store`` only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from botocore import exceptions as driver
from botocore.parsers import ResponseParserError

from obelisk_ops.core.http import Reply
from obelisk_ops.errors import (
    ConfigError,
    CredentialsError,
    DamagedObject,
    ObjectNotFound,
    OpsError,
    PreconditionFailed,
    S3Unavailable,
)
from obelisk_ops.objectstore.client import open_client, open_session
from obelisk_ops.objectstore.exchange import Exchange
from obelisk_ops.objectstore.failures import Answer, translate
from obelisk_ops.objectstore.lean import Lean
from obelisk_ops.objectstore.port import Fetched, Inquiry, ObjectInfo
from obelisk_ops.objectstore.rules import LifecycleRule, Lock, Versioning, lifecycle_rules
from obelisk_ops.settings import Credentials, ReplicaSettings

T = TypeVar("T")

_READS_AT_ONCE = 16

_NO_CREDENTIALS = (
    driver.NoCredentialsError, driver.PartialCredentialsError, driver.CredentialRetrievalError,
    driver.NoAuthTokenError, driver.TokenRetrievalError, driver.ProfileNotFound,
    driver.SSOError, driver.MetadataRetrievalError,
)  # fmt: skip
#: a KeyError is an answer in which S3 would have said more
_NOT_S3 = (ResponseParserError, KeyError)
_FAILURES = (driver.ClientError, driver.BotoCoreError, *_NOT_S3)
_VERSIONING: dict[str, Versioning] = {"Enabled": "enabled", "Suspended": "suspended"}
#: said of a bucket that has never been told anything of the kind
_UNSET = frozenset({"ObjectLockConfigurationNotFoundError", "NoSuchLifecycleConfiguration"})


class S3Store:
    """See ObjectStore and BucketRules. One bucket at one endpoint."""

    def __init__(self, replica: ReplicaSettings, *, timeout_s: float, attempts: int) -> None:
        self._bucket = replica.bucket
        self._prefix = replica.prefix
        self._endpoint = replica.endpoint or "AWS"
        with self._translated():
            self._session = open_session(replica)
            self._client = open_client(self._session, replica, timeout_s, attempts)
            found = self._session.get_credentials()
            self._lean = Lean(self._client, replica.bucket, found, timeout_s)

    def __repr__(self) -> str:
        return f"S3Store({self._endpoint}, {self._bucket})"

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See ObjectStore.list."""
        for page in self._pages(Prefix=prefix, **({"StartAfter": after} if after else {})):
            for item in page.get("Contents", ()):
                if item["Key"] > after:
                    yield ObjectInfo(
                        key=item["Key"],
                        size=item["Size"],
                        modified_ms=_ms(item["LastModified"]),
                        etag=_etag(item["ETag"]),
                    )

    def folders(self, prefix: str) -> Iterator[str]:
        """See ObjectStore.folders."""
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                yield item["Prefix"].removeprefix(prefix).removesuffix("/")

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        """See ObjectStore.get."""
        asked: dict[str, Any] = {}
        if first is not None or last is not None:
            asked["Range"] = f"bytes={first or 0}-{'' if last is None else last}"
        with self._translated(key):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **asked)
            body = answer["Body"].read()
            whole = answer.get("ContentRange", "").rpartition("/")[2]
            size = int(whole) if whole.isdecimal() else len(body)
            info = _info(key, size, answer)
        return Fetched(body=body, info=info, metadata=answer["Metadata"])

    def beginnings(self, keys: Sequence[str], size: int) -> dict[str, bytes]:
        """See ObjectStore.beginnings."""
        return _at_once(keys, lambda key: self.get(key, first=0, last=size - 1).body)

    def notes(self, keys: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """See ObjectStore.notes."""
        return _at_once(keys, lambda key: self.head(key)[1])

    def head(self, key: str) -> tuple[ObjectInfo, Mapping[str, str]]:
        """See ObjectStore.head."""
        with self._translated(key):
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
            return _info(key, answer["ContentLength"], answer), answer["Metadata"]

    def look(self, key: str) -> Fetched:
        """See ObjectStore.look."""
        with self._translated(key):
            answer = self._lean.ask("GET", key)
            return self.get(key) if answer is None else _fetched(key, answer)

    def ask(self, key: str) -> Inquiry | None:
        """See ObjectStore.ask."""
        exchange = self._lean.begin(key)
        return None if exchange is None else _Asked(self._lean, exchange, key)

    def is_there(self, key: str) -> bool:
        """See ObjectStore.is_there."""
        with self._translated(key):
            if self._lean.ask("HEAD", key) is not None:
                return True
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def put(
        self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """See ObjectStore.put."""
        asked: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        if if_match is not None:
            asked["IfMatch"] = if_match
        try:
            answer = self._client.put_object(Bucket=self._bucket, Key=key, Body=body, **asked)
            return _etag(answer["ETag"])
        except _FAILURES as failed:
            error = self._error(failed, key, is_conditional=bool(asked))
            ours = self._ours(key, body) if _was_refused_again(failed, error) else None
            if ours is None:
                raise error from failed
            return ours

    def delete(self, key: str) -> None:
        """See ObjectStore.delete."""
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def server_time_ms(self) -> int:
        """See ObjectStore.server_time_ms."""
        answer: Any
        try:
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1
            )
        except _FAILURES as failed:
            # A refusal carries the time too, above all the one because of a wrong clock.
            answer = getattr(failed, "response", None) or {}
            if not _date(answer):
                raise self._error(failed, "") from failed
        return _ms(parsedate_to_datetime(_date(answer)))

    def versioning(self) -> Versioning:
        """See BucketRules.versioning."""
        with self._translated():
            answer = self._client.get_bucket_versioning(Bucket=self._bucket)
        return _VERSIONING.get(answer.get("Status", ""), "off")

    def lock(self) -> Lock | None:
        """See BucketRules.lock."""
        answer = self._unless_unset(self._client.get_object_lock_configuration)
        found = answer.get("ObjectLockConfiguration", {})
        if found.get("ObjectLockEnabled") != "Enabled":
            return None
        default = found.get("Rule", {}).get("DefaultRetention", {})
        days = default.get("Days", default.get("Years", 0) * 365) or None
        return Lock(days=days, mode=default.get("Mode", ""))

    def lifecycle(self) -> Sequence[LifecycleRule]:
        """See BucketRules.lifecycle."""
        answer = self._unless_unset(self._client.get_bucket_lifecycle_configuration)
        return lifecycle_rules(answer.get("Rules", ()))

    @property
    def address(self) -> str:
        """The address that requests are sent to."""
        return self._client.meta.endpoint_url

    def credentials(self) -> Credentials | None:
        """Return what requests are signed with now; None if there is nothing."""
        found = self._session.get_credentials()
        if found is None:
            return None
        pair = found.get_frozen_credentials()
        return Credentials(
            access_key_id=pair.access_key or "", secret_access_key=pair.secret_key or "",
            session_token=pair.token,
        )  # fmt: skip

    def _unless_unset(self, ask: Callable[..., Any]) -> Mapping[str, Any]:
        try:
            answer: Mapping[str, Any] = ask(Bucket=self._bucket)
        except _FAILURES as failed:
            if _code(failed) in _UNSET:
                return {}
            raise self._error(failed, "") from failed
        return answer

    def _pages(self, **asked: str) -> Iterator[Any]:
        paginator: Any = self._client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self._bucket, **asked))
        while True:
            with self._translated():
                page = next(pages, None)
                if page is None:
                    return
                # Without this a web page that happens to be XML is an empty bucket.
                _ = page["IsTruncated"]
            yield page

    def _ours(self, key: str, body: bytes) -> str | None:
        try:
            found = self.get(key)
        except ObjectNotFound:
            return None
        return found.info.etag if found.body == body else None

    @contextmanager
    def _translated(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except _FAILURES as failed:
            raise self._error(failed, key) from failed

    def _error(self, failed: Exception, key: str, *, is_conditional: bool = False) -> OpsError:
        if isinstance(failed, driver.ClientError):
            return translate(
                Answer(
                    code=_code(failed),
                    status=failed.response["ResponseMetadata"].get("HTTPStatusCode", 0),
                    bucket=self._bucket,
                    endpoint=self._endpoint,
                    key=key,
                    operation=failed.operation_name,
                    is_conditional=is_conditional,
                )
            )
        return _local_error(failed, self._endpoint)


class _Asked:
    """See Inquiry."""

    def __init__(self, lean: Lean, exchange: Exchange, key: str) -> None:
        self._lean, self._exchange, self._key = lean, exchange, key
        self.fileno, self.close = exchange.fileno, exchange.close

    def answer(self) -> Fetched | None:
        """See Inquiry.answer."""
        reply = self._lean.receive(self._exchange)
        return None if reply is None else _fetched(self._key, reply)


def _fetched(key: str, reply: Reply) -> Fetched:
    heads = reply.headers
    info = ObjectInfo(
        key=key,
        size=len(reply.body),
        modified_ms=_ms(parsedate_to_datetime(heads["last-modified"])),
        etag=_etag(heads["etag"]),
    )
    return Fetched(body=reply.body, info=info, metadata={})


def _at_once(keys: Sequence[str], read: Callable[[str], T]) -> dict[str, T]:
    """Return what *read* makes of each key; what is gone, or too short, is left out."""

    def one(key: str) -> list[T]:
        with suppress(ObjectNotFound, DamagedObject):
            return [read(key)]
        return []

    told = [(copy_context(), key) for key in keys]  # for whom it is sent: see meter.py
    with ThreadPoolExecutor(min(_READS_AT_ONCE, len(keys) or 1)) as pool:
        asked = [pool.submit(context.run, one, key) for context, key in told]
        found = zip(keys, [future.result() for future in asked], strict=True)
    return {key: value for key, values in found for value in values}


def _local_error(failed: Exception, endpoint: str) -> OpsError:
    """Say what *failed* means where no answer of the store was understood."""
    kind = type(failed).__name__
    if isinstance(failed, _NO_CREDENTIALS):
        return CredentialsError(
            f"no credentials for {endpoint} ({kind})",
            hint="check replica.credentials, AWS_PROFILE and what the platform provides",
        )
    if isinstance(failed, driver.ParamValidationError):
        return ConfigError("a bucket or key that S3 does not allow", hint="check replica.url")
    if isinstance(failed, driver.SSLError):
        return S3Unavailable(
            f"no trusted TLS connection to {endpoint}",
            hint="check the https:// address and the certificate; AWS_CA_BUNDLE names other "
            "authorities",
        )
    if isinstance(failed, _NOT_S3):
        return S3Unavailable(
            f"{endpoint} answers, but not as S3 does", hint="check replica.endpoint"
        )
    return S3Unavailable(
        f"{endpoint} does not answer ({kind})",
        hint="check replica.endpoint, the network, and that the server runs",
    )


def _was_refused_again(failed: Exception, error: OpsError) -> bool:
    # The driver repeats a request that got no answer. The first one may have been carried
    # out all the same, and then the second is refused because of ourselves.
    if not isinstance(failed, driver.ClientError) or not isinstance(error, PreconditionFailed):
        return False
    return failed.response["ResponseMetadata"].get("RetryAttempts", 0) > 0


def _info(key: str, size: int, answer: Any) -> ObjectInfo:  # noqa: ANN401 — two answers share it
    modified_ms = _ms(answer["LastModified"])
    return ObjectInfo(key=key, size=size, modified_ms=modified_ms, etag=_etag(answer["ETag"]))


def _etag(given: str) -> str:
    # Some servers leave the quotes out in listings; a comparison must not see that.
    return given if given.startswith('"') else f'"{given}"'


def _code(failed: Exception) -> str:
    answer = failed.response if isinstance(failed, driver.ClientError) else {}
    return str(answer.get("Error", {}).get("Code", ""))


def _date(answer: Mapping[str, Any]) -> str:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("date", ""))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
