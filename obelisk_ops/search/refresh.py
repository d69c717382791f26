"""Bringing the catalogue up to date: one listing, and a look into each backup that changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import msgspec

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import (
    ConfigError,
    CorruptDatabase,
    DamagedObject,
    DatabaseNotFound,
    ForeignDatabase,
    LimitExceeded,
    OpsError,
    ReaderCrashed,
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
from obelisk_ops.search.crew import Crew

_ONE_S = 60.0

#: What is wrong with a backup itself: it is not tried again until it changes.
_WRONG = (
    ConfigError, CorruptDatabase, DamagedObject, DatabaseNotFound, ForeignDatabase,
    LimitExceeded, ReaderCrashed, VerificationFailed,
)  # fmt: skip
#: What may be otherwise the next time.
_PASSING = (RestorePointNotFound, ReplicaNotFound, Unproven)


@dataclass(frozen=True, slots=True)
class _Read:
    point: tuple[int, int]
    contents: Contents


_READ = msgspec.json.Decoder(_Read)


def refresh(
    open_store: Callable[[], ObjectStore],
    prefix: str,
    catalogue: Catalogue,
    clock: Clock,
    progress: Callable[[int, int], None],
) -> int:
    """
    Read what has changed since the last time; return how many backups that were.

    Each is kept as soon as it is read: what is interrupted goes on from there.

    Args:
        open_store: Opens the bucket; every process that reads needs connections of its own.
        prefix: Where the backups are.
        catalogue: What is known.
        clock: For the moment at which a backup was read.
        progress: Told how many were read, and how many there are to read.

    Raises:
        S3Unavailable: The bucket does not answer.
        CredentialsError: It may not be read.
    """
    known = catalogue.marks()
    listed = list(survey(open_store(), prefix))
    catalogue.forget(known.keys() - {one.name for one in listed})
    changed = [one for one in listed if known.get(one.name) != one.mark]
    crew = Crew(lambda: partial(_read, open_store(), prefix), _READ, one_s=_ONE_S)
    with closing(crew.read({one.name: one for one in changed})) as found:
        for done, (one, read) in enumerate(found, 1):
            _keep(catalogue, one, read, clock.now_ms())
            progress(done, len(changed))
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


def _keep(catalogue: Catalogue, listed: Listed, read: _Read | OpsError, now_ms: int) -> None:
    match read:
        case _Read():
            catalogue.put(listed.name, listed.mark, read.point, read.contents, now_ms)
        case OpsError() if isinstance(read, _WRONG):
            catalogue.put_failure(listed.name, listed.mark, read.message, now_ms)
        case OpsError() if isinstance(read, _PASSING):
            catalogue.put_failure(listed.name, "", read.message, now_ms)
        case _:
            raise read
