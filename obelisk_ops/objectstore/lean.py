"""
Small questions without what boto3 does around each request.

A barrier ends with a small GET, and somebody waits for it: of the time that a local server
takes, boto3 adds two thirds. Here a request is signed by botocore, and sent over the
connections that the client keeps open; nothing else. What is not plainly answered is asked
again through the client, which knows of redirects, refusals and what they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from botocore import exceptions as driver
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse

from obelisk_ops.objectstore.hearing import hear
from obelisk_ops.objectstore.meter import count_request

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

#: Whoever waited for an answer in vain does not wait for another one.
_SLOW = (driver.ReadTimeoutError, driver.ConnectTimeoutError)
_OK = 200


class Lean:
    """Asks one bucket, as one S3Client would."""

    def __init__(self, client: S3Client, bucket: str, credentials: Credentials | None) -> None:
        """Describe whom to ask; without *credentials* nobody is asked."""
        self._place = f"{client.meta.endpoint_url.rstrip('/')}/{quote(bucket)}/"
        self._region = client.meta.region_name
        self._credentials = credentials
        # There is no other way to its connections, proxies and certificates.
        self._http = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001

    def ask(self, method: Literal["GET", "HEAD"], key: str) -> AWSResponse | None:
        """
        Return the answer if it is 200; None if the client had better ask.

        Raises:
            driver.HTTPClientError: There was none in time.
        """
        if self._credentials is None:
            return None
        request = AWSRequest(method=method, url=self._place + quote(key, safe="/~"))
        frozen = self._credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        count_request()
        try:
            answer: AWSResponse = self._http.send(request.prepare())
        except _SLOW:
            raise
        except driver.HTTPClientError:
            return None  # a connection that the server had closed
        hear(answer.headers)
        is_s3 = "etag" in answer.headers and "last-modified" in answer.headers
        return answer if answer.status_code == _OK and is_s3 else None
