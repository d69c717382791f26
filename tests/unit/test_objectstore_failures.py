"""What an answer of the store means, and what boto3's own failures mean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore import exceptions as driver
from moto import mock_aws

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
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.failures import Answer, translate
from obelisk_ops.objectstore.s3 import S3Store
from obelisk_ops.settings import ReplicaSettings


@pytest.mark.parametrize(
    # code, status, conditional, what the caller is told
    ("code", "status", "conditional", "expected"),
    [
        ("NoSuchBucket", 404, False, BucketMissing),
        ("NoSuchBucket", 404, True, BucketMissing),
        ("InvalidAccessKeyId", 403, False, CredentialsError),
        ("SignatureDoesNotMatch", 403, False, CredentialsError),
        ("AccessDenied", 403, False, CredentialsError),
        ("ExpiredToken", 400, False, CredentialsError),
        ("InvalidToken", 400, False, CredentialsError),
        ("403", 403, False, CredentialsError),  # a HEAD has no body, so no code
        ("401", 401, False, CredentialsError),
        ("", 403, False, CredentialsError),
        ("RequestTimeTooSkewed", 403, False, ClockError),
        ("NoSuchKey", 404, False, ObjectNotFound),
        ("404", 404, False, ObjectNotFound),
        ("NoSuchKey", 404, True, PreconditionFailed),  # If-Match on what was deleted
        ("PreconditionFailed", 412, True, PreconditionFailed),
        ("ConditionalRequestConflict", 409, True, PreconditionFailed),
        ("412", 412, True, PreconditionFailed),
        ("OperationAborted", 409, False, S3Unavailable),
        ("InvalidRange", 416, False, DamagedObject),
        ("InvalidObjectState", 403, False, S3Unavailable),
        ("PermanentRedirect", 301, False, ConfigError),
        ("301", 301, False, ConfigError),
        ("AuthorizationHeaderMalformed", 400, False, ConfigError),
        ("InvalidBucketName", 400, False, ConfigError),
        ("SlowDown", 503, False, S3Unavailable),
        ("ServiceUnavailable", 503, False, S3Unavailable),
        ("InternalError", 500, True, S3Unavailable),
        ("XMinioStorageFull", 507, False, S3Unavailable),
        ("MethodNotAllowed", 405, False, S3Unavailable),
        ("NeverHeardOf", 418, False, S3Unavailable),
        ("", 0, False, S3Unavailable),
    ],
)
def test_an_answer_means(
    code: str, status: int, *, conditional: bool, expected: type[OpsError]
) -> None:
    answer = Answer(
        code=code,
        status=status,
        bucket="the-bucket",
        endpoint="http://there:9",
        key="the/key",
        is_conditional=conditional,
    )

    error = translate(answer)

    assert type(error) is expected
    assert error.hint
    assert "the-bucket" in error.message or "http://there:9" in error.message


@pytest.mark.parametrize(
    ("operation", "role", "not_needed"),
    [
        ("ListObjectsV2", "reader", "put"),
        ("GetObject", "reader", "delete"),
        ("HeadObject", "reader", "put"),
        ("PutObject", "writer", ""),
        ("DeleteObject", "pruner", "put"),
        ("DeleteObjects", "pruner", "put"),
    ],
)
def test_who_is_denied_is_told_what_such_a_request_needs(
    operation: str, role: str, not_needed: str
) -> None:
    answer = Answer(
        code="AccessDenied", status=403, bucket="b", endpoint="e", operation=operation
    )

    hint = translate(answer).hint

    assert f"obelisk-ops policy --role {role}" in hint
    assert not not_needed or not_needed not in hint.partition(";")[0]


@pytest.fixture(scope="module")
def client() -> Iterator[S3Store]:
    """A store that has a client, made once: that takes a tenth of a second."""
    replica = ReplicaSettings(
        bucket="bucket", prefix="p", endpoint=None, region="us-east-1", credentials="env"
    )
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "ID")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "HUSH")
        made = open_store(replica)
        assert isinstance(made, S3Store)
        yield made


@pytest.fixture
def store(client: S3Store) -> Iterator[S3Store]:
    """The same store, over an empty bucket."""
    with mock_aws():
        client._client.create_bucket(Bucket="bucket")
        yield client


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (driver.EndpointConnectionError(endpoint_url="http://there"), S3Unavailable),
        (driver.ConnectTimeoutError(endpoint_url="http://there"), S3Unavailable),
        (driver.ReadTimeoutError(endpoint_url="http://there"), S3Unavailable),
        (driver.ConnectionClosedError(endpoint_url="http://there"), S3Unavailable),
        (driver.IncompleteReadError(actual_bytes=1, expected_bytes=2), S3Unavailable),
        (driver.SSLError(endpoint_url="http://there", error=ValueError("x")), S3Unavailable),
        (driver.NoCredentialsError(), CredentialsError),
        (driver.PartialCredentialsError(provider="x", cred_var="y"), CredentialsError),
        (driver.CredentialRetrievalError(provider="x", error_msg="y"), CredentialsError),
        (driver.ProfileNotFound(profile="x"), CredentialsError),
        (driver.ParamValidationError(report="x"), ConfigError),
        (KeyError("ETag"), S3Unavailable),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_without_an_answer_means(
    client: S3Store,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    expected: type[OpsError],
) -> None:
    def fail(**_: object) -> None:
        raise failure

    for method in ("put_object", "get_object", "head_object", "list_objects_v2"):
        monkeypatch.setattr(client._client, method, fail)

    for attempt in (
        lambda: client.put("a", b""),
        lambda: client.get("a"),
        lambda: client.head("a"),
        client.server_time_ms,
    ):
        with pytest.raises(expected) as error:
            attempt()
        assert error.value.hint
        assert "HUSH" not in error.value.message


def refuse_once_carried_out(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the first answer to a put be lost, and the repeated put be refused."""
    put = store._client.put_object

    def put_twice(**asked: object) -> object:
        put(**asked)  # type: ignore[arg-type]  # handed on as it came
        try:
            return put(**asked)  # type: ignore[arg-type]  # handed on as it came
        except driver.ClientError as refused:
            refused.response["ResponseMetadata"]["RetryAttempts"] = 1
            raise

    monkeypatch.setattr(store._client, "put_object", put_twice)


def test_a_writer_refused_because_of_its_own_lost_answer_has_written(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_once_carried_out(store, monkeypatch)

    etag = store.put("claim", b"mine", if_absent=True)

    assert etag == store.head("claim")[0].etag
    assert store.put("claim", b"mine too", if_match=etag)


def test_a_writer_refused_after_a_repetition_because_of_another_is_refused(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("claim", b"another's")
    put = store._client.put_object

    def put_again(**asked: object) -> object:
        try:
            return put(**asked)  # type: ignore[arg-type]  # handed on as it came
        except driver.ClientError as refused:
            refused.response["ResponseMetadata"]["RetryAttempts"] = 1
            raise

    monkeypatch.setattr(store._client, "put_object", put_again)

    with pytest.raises(PreconditionFailed):
        store.put("claim", b"mine", if_absent=True)


def test_a_refusal_because_of_the_clock_still_tells_the_stores_time(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        answer = {
            "Error": {"Code": "RequestTimeTooSkewed"},
            "ResponseMetadata": {
                "HTTPStatusCode": 403,
                "HTTPHeaders": {"date": "Sun, 22 Nov 2026 17:00:00 GMT"},
            },
        }
        raise driver.ClientError(answer, "ListObjectsV2")  # type: ignore[arg-type]

    monkeypatch.setattr(store._client, "list_objects_v2", refuse)

    assert store.server_time_ms() == 1_795_366_800_000


def test_a_long_listing_is_fetched_page_by_page(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1_003):
        store._client.put_object(Bucket="bucket", Key=f"p/{number:05}", Body=b"")
    pages = []
    client = store._client
    client.meta.events.register("after-call.s3.ListObjectsV2", lambda **_: pages.append(1))

    listing = store.list("p/")

    assert next(listing).key == "p/00000"
    assert len(pages) == 1
    assert len(list(listing)) == 1_002
    assert len(pages) == 2
