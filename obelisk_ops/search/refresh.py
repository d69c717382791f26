"""Bringing the catalogue up to date: one listing, and a look into each backup that changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    DamagedObject,
    OpsError,
    ReplicaNotFound,
    RestorePointNotFound,
    Unproven,
    VerificationFailed,
)
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import walk
from obelisk_ops.replica.image import Image
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.survey import Listed, read_listed, survey
from obelisk_ops.search.catalogue import Catalogue
from obelisk_ops.search.contents import Contents, read_contents

#: Waiting for the bucket is most of it, so more than there are processors.
_THREADS = 8
_ONE_S = 60.0

#: What is wrong with a backup itself: it is not tried again until it changes.
_WRONG = (ConfigError, CorruptDatabase, DamagedObject, VerificationFailed)
#: What may be otherwise the next time.
_PASSING = (RestorePointNotFound, ReplicaNotFound, Unproven)


@dataclass(frozen=True, slots=True)
class _Read:
    point: tuple[int, int]
    contents: Contents


def refresh(
    store: ObjectStore,
    prefix: str,
    catalogue: Catalogue,
    clock: Clock,
    progress: Callable[[int, int], None],
) -> int:
    """
    Read what has changed since the last time; return how many backups that were.

    Each is kept as soon as it is read: what is interrupted goes on from there.

    Args:
        store: The bucket.
        prefix: Where the backups are.
        catalogue: What is known.
        clock: For the moment at which a backup was read.
        progress: Told how many were read, and how many there are to read.

    Raises:
        S3Unavailable: The bucket does not answer.
        CredentialsError: It may not be read.
    """
    known = catalogue.marks()
    listed = list(survey(store, prefix))
    catalogue.forget(known.keys() - {one.name for one in listed})
    changed = [one for one in listed if known.get(one.name) != one.mark]
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        work = {pool.submit(_read, store, prefix, one): one for one in changed}
        try:
            for done, future in enumerate(as_completed(work), 1):
                _keep(catalogue, work[future], future, clock.now_ms())
                progress(done, len(changed))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return len(changed)


def _read(store: ObjectStore, prefix: str, listed: Listed) -> _Read:
    replica = read_listed(store, prefix, listed)
    history = replica.current
    if history is None or not history.points:
        raise ReplicaNotFound(f"nothing of '{listed.name}' can be restored yet")
    point = history.points[-1]
    files = walk(history.files, point.txid)
    keys = ReplicaKeys(prefix=prefix, name=listed.name)
    with (
        Image(store, keys, point.epoch, point.txid, files) as image,
        open_in_place(image, listed.name, limit_s=_ONE_S) as connection,
    ):
        return _Read((point.epoch, point.txid), read_contents(connection))


def _keep(catalogue: Catalogue, listed: Listed, future: Future[_Read], now_ms: int) -> None:
    try:
        read = future.result()
    except (*_WRONG, *_PASSING) as error:
        mark = listed.mark if isinstance(error, _WRONG) else ""
        catalogue.put_failure(listed.name, mark, _said(error), now_ms)
        return
    catalogue.put(listed.name, listed.mark, read.point, read.contents, now_ms)


def _said(error: OpsError) -> str:
    return error.message
