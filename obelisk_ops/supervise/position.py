"""Where a database stands: on this disk, and in the bucket by our own listing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.local import (
    Shipped,
    Tail,
    WalReader,
    level0_file,
    level0_folder,
    read_shipped,
)
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile, ltx_file
from obelisk_ops.replica.chain import Chain
from obelisk_ops.replica.layout import SNAPSHOT_LEVEL, ReplicaKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """
    What is on this disk.

    Attributes:
        txid: Last transaction in Litestream's own files; 0 before the first.
        at_ms: When it was captured; UTC milliseconds. None if not known.
        tail: Committed WAL behind it; None if not known.
    """

    txid: int
    at_ms: int | None = None
    tail: Tail | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """
    The newest LTX file of an epoch.

    Attributes:
        txid: Its last transaction; 0 if there is no file.
        min_txid: Its first.
        level: The level it was found in.
        modified_ms: When it arrived, by the bucket's clock.
    """

    txid: int = 0
    min_txid: int = 0
    level: int = 0
    modified_ms: int = 0


#: More files than this are not measured one by one.
_FILES_MAX = 1_000
#: So many files before the newest are listed with it: somebody may write them again.
_LOOK_BACK = 32


class LocalReader:
    """Reads the local position of one database in one epoch."""

    def __init__(self, database: Path, meta: Path) -> None:
        self._database = database
        self._wal = database.with_name(f"{database.name}-wal")
        self._meta = meta
        self._reader = WalReader(database)
        self._shipped: Shipped | None = None
        self._signature: tuple[int, ...] = ()

    def has_changed(self) -> bool:
        """Tell whether the files on disk changed since this was last asked."""
        # What is shipped is not always committed: see witness.py.
        places = (self._database, self._wal, level0_folder(self._meta))
        signature = tuple(part for place in places for part in _signature(place))
        changed = signature != self._signature
        self._signature = signature
        return changed

    def read(self, txid: int) -> Local:
        """Return the local position, *txid* being the last in Litestream's own files."""
        if self._shipped is None or self._shipped.txid != txid:
            self._shipped = read_shipped(self._meta, txid) if txid else None
        if self._shipped is None:
            return Local(txid=txid)
        tail = self._reader.measure(self._shipped)
        return Local(txid=txid, at_ms=self._shipped.at_ms, tail=tail)

    def size_of(self, first: int, last: int) -> int:
        """Return the bytes of the files of some transactions, as far as they are here."""
        since = max(first, last - _FILES_MAX + 1)
        return sum(_signature(level0_file(self._meta, n))[0] for n in range(since, last + 1))

    def captured_ms(self, txid: int) -> int | None:
        """Return when Litestream captured one transaction; None if its file is gone."""
        shipped = read_shipped(self._meta, txid)
        return shipped.at_ms if shipped else None


def remote_of(chain: Chain) -> Remote:
    """Return the newest LTX file of a chain."""
    return _remote(chain.newest) if chain.newest else Remote()


def read_remote(
    store: ObjectStore,
    keys: ReplicaKeys,
    epoch: int,
    known: Remote,
    *,
    saw: Callable[[LtxFile], None] = lambda _: None,
) -> Remote:
    """
    Return the newest LTX file of an epoch, beginning the listing at the one known so far.

    The known one is listed again each time: that it is still there is part of
    the answer. Once it is compacted away, what holds its transactions is looked
    for in all levels.

    Args:
        store: The bucket.
        keys: The replica.
        epoch: The epoch.
        known: What is known so far.
        saw: Told of every file that was listed.
    """

    def newest_of(level: int, since_txid: int) -> Remote:
        return _newest(store, keys, epoch, level, since_txid, saw)

    since = known.min_txid if known.level == 0 else known.txid
    newest = newest_of(0, max(since - _LOOK_BACK, 0))
    if known.level and newest.txid < known.txid:
        newest = newest_of(known.level, known.min_txid)
    if newest.txid >= max(known.txid, 1):
        return newest
    if next(iter(store.list(keys.epoch(epoch))), None) is None:
        return Remote()
    found = (newest_of(level, 0) for level in range(SNAPSHOT_LEVEL + 1))
    return max(found, key=lambda remote: remote.txid)


def _newest(
    store: ObjectStore,
    keys: ReplicaKeys,
    epoch: int,
    level: int,
    since_txid: int,
    saw: Callable[[LtxFile], None],
) -> Remote:
    folder = keys.level(epoch, level)
    # A name begins with its first transaction, and is longer than what is given here.
    after = f"{folder}{ltx.hex_txid(since_txid)}" if since_txid else ""
    newest = Remote()
    for info in store.list(folder, after=after):
        file = ltx_file(info, epoch=epoch, folder=keys.epoch(epoch))
        if file is not None:
            saw(file)
            newest = max(newest, _remote(file), key=lambda remote: remote.txid)
    return newest


def _remote(file: LtxFile) -> Remote:
    return Remote(
        txid=file.max_txid,
        min_txid=file.min_txid,
        level=file.level,
        modified_ms=file.modified_ms,
    )


def _signature(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
