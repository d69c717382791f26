"""
Object storage behind one small port; nothing else here knows an S3 client.

Importing this is cheap: boto3 is loaded by the first ``open_store``.
"""

from __future__ import annotations

import importlib

from obelisk_ops.objectstore.port import Fetched, Inquiry, ObjectInfo, ObjectStore
from obelisk_ops.objectstore.rules import BucketRules
from obelisk_ops.settings import ReplicaSettings

__all__ = [
    "BucketRules",
    "Fetched",
    "Inquiry",
    "ObjectInfo",
    "ObjectStore",
    "import_reader",
    "open_rules",
    "open_store",
]

ATTEMPTS = 2


def open_store(
    replica: ReplicaSettings,
    *,
    timeout_s: float = 5.0,
    attempts: int = ATTEMPTS,
    in_bulk: bool = False,
) -> ObjectStore:
    """
    Return the object store that holds *replica*; nothing is sent yet.

    Calls block; in a coroutine make them through ``asyncio.to_thread``. One
    store may be used by many threads.

    Args:
        replica: Which bucket, where, and where the credentials come from.
        timeout_s: How long one attempt waits for an answer.
        attempts: How often a request is sent at most.
        in_bulk: Thousands of objects may be listed and read, and that is to be quick.

    Raises:
        CredentialsError: There are none.
    """
    # boto3 takes 0.2 s to import
    if in_bulk:
        from obelisk_ops.objectstore.bulk import BulkStore  # noqa: PLC0415

        return BulkStore(replica, timeout_s=timeout_s, attempts=attempts)
    from obelisk_ops.objectstore.s3 import S3Store  # noqa: PLC0415

    return S3Store(replica, timeout_s=timeout_s, attempts=attempts)


def import_reader() -> None:
    """Load what ``open_store`` reads in bulk with, for a child that may not have the memory."""
    importlib.import_module("obelisk_ops.objectstore.bulk")


def open_rules(replica: ReplicaSettings, *, timeout_s: float = 5.0) -> BucketRules:
    """
    Return what tells the settings of the bucket that holds *replica*; nothing is sent yet.

    Raises:
        CredentialsError: There are none.
    """
    from obelisk_ops.objectstore.s3 import S3Store  # noqa: PLC0415 — see open_store

    return S3Store(replica, timeout_s=timeout_s, attempts=1)
