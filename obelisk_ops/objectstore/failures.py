"""
What an answer of the store means: a pure function of its code and status.

By code, never by message text. A HEAD has no body and so no code; there the
status has to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from obelisk_ops.errors import (
    BucketMissing,
    ClockError,
    ConfigError,
    CredentialsError,
    DamagedObject,
    ObjectNotFound,
    OpsError,
    PreconditionFailed,
    S3Unavailable,
)

_KEYS_WRONG = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "MissingSecurityHeader",
    "AuthFailure", "UnrecognizedClientException", "NotSignedUp", "AccountProblem",
    "AuthorizationQueryParametersError", "InvalidSecurity",
})  # fmt: skip
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "Forbidden", "403", "401"})
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_ELSEWHERE = frozenset({
    "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException", "301", "307",
})  # fmt: skip
_TAKEN = frozenset({
    "PreconditionFailed", "ConditionalRequestConflict", "OperationAborted", "412", "409",
})  # fmt: skip
_NO_KEY = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A request that the store refused, and where it was sent."""

    code: str
    status: int
    bucket: str
    endpoint: str  # for people: the address, or "AWS"
    key: str = ""
    operation: str = ""  # as S3 calls it: GetObject, ListObjectsV2
    is_conditional: bool = False


def translate(answer: Answer) -> OpsError:
    """Return the error that says what *answer* means to the caller."""
    error = _about_access(answer) or _about_place(answer) or _about_object(answer)
    return error or _unavailable(answer)


def _about_access(answer: Answer) -> OpsError | None:
    code, where = answer.code, f"{answer.endpoint} ({answer.code})"
    if code in _CLOCK:
        return ClockError(
            f"this machine's clock differs too much from that of {where}",
            hint="set the clock, for example with chrony or systemd-timesyncd",
        )
    if code in _EXPIRED:
        return CredentialsError(
            f"the credentials have expired, says {where}",
            hint="fetch new ones; 'credentials: ambient' renews those of a role by itself",
        )
    if code in _KEYS_WRONG:
        return CredentialsError(
            f"the credentials are not accepted by {where}",
            hint="check the key pair, and that it belongs to this endpoint",
        )
    if code in _DENIED or (answer.status in {401, 403} and code == ""):
        return CredentialsError(
            f"access to {_thing(answer)} is denied by {where}",
            hint=f"{_needed(answer.operation)}; the same answer may stand for a wrong key pair",
        )
    return None


def _needed(operation: str) -> str:
    """Say what a key pair needs to be allowed to do, of those that do such a thing."""
    if operation.startswith("Put"):
        return (
            "who writes needs list, get, put and delete below the prefix: see "
            "'obelisk-ops policy --role writer'"
        )
    if operation.startswith("Delete"):
        return (
            "who deletes needs list, get and delete below the prefix: see "
            "'obelisk-ops policy --role pruner', or writer"
        )
    return (
        "who reads needs list and get below the prefix: see 'obelisk-ops policy --role "
        "reader'; who supervises needs what a writer needs"
    )


def _about_place(answer: Answer) -> OpsError | None:
    if answer.code == "NoSuchBucket":
        return BucketMissing(
            f"there is no bucket '{answer.bucket}' at {answer.endpoint}",
            hint="create it, or correct replica.url",
        )
    if answer.code in _ELSEWHERE:
        return ConfigError(
            f"bucket '{answer.bucket}' is not in this region, says {answer.endpoint}",
            hint="set replica.region to the region of the bucket",
        )
    if answer.code == "InvalidBucketName":
        return ConfigError(
            f"'{answer.bucket}' cannot name a bucket, says {answer.endpoint}",
            hint="correct replica.url",
        )
    return None


def _about_object(answer: Answer) -> OpsError | None:
    code = answer.code
    is_gone = code in _NO_KEY
    if answer.is_conditional and (code in _TAKEN or is_gone):
        return PreconditionFailed(
            f"another writer was first: {_thing(answer)}",
            hint="read it again and decide anew",
        )
    if is_gone:
        return ObjectNotFound(
            f"there is no {_thing(answer)}", hint="check the name and replica.url"
        )
    if code in {"InvalidRange", "416"}:
        return DamagedObject(
            f"{_thing(answer)} is shorter than it must be",
            hint="it was cut off; verify the replica and restore to another moment",
        )
    if code == "InvalidObjectState":
        return S3Unavailable(
            f"{_thing(answer)} was moved to an archive and cannot be read",
            hint="restore it from the archive class, and keep lifecycle rules off the prefix",
        )
    return None


def _unavailable(answer: Answer) -> OpsError:
    code = answer.code or "no code"
    hint = "it usually passes; see the server's own log if it does not"
    if 400 <= answer.status < 500 and answer.status != 429:  # noqa: PLR2004 — ranges of HTTP
        hint = "the server does not accept this request; is it an S3 server, and a current one?"
    return S3Unavailable(
        f"{answer.endpoint} cannot serve {_thing(answer)}: {code}, status {answer.status}",
        hint=hint,
    )


def _thing(answer: Answer) -> str:
    place = f"s3://{answer.bucket}"
    return f"object {place}/{answer.key}" if answer.key else f"bucket {place}"
