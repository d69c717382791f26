"""
Set a database back to an earlier state in its own place, and undo that.

    lock out engine and supervisor → restore beside → be alone with the file → exchange

What was there is kept beside it. Nothing is written to the bucket: the next supervisor finds
a file that is not the one of its epoch, and opens the next one where it descends from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import When
from obelisk_ops.errors import Conflict, DatabaseLocked, DatabaseNotFound
from obelisk_ops.replica.reading import read_replica
from obelisk_ops.restore import service
from obelisk_ops.restore.exchange import (
    alone_with,
    check_database,
    exchange,
    forget_unfinished,
    kept_path,
    note_of,
)
from obelisk_ops.restore.service import Progress, Restored, Source
from obelisk_ops.restore.target import give
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.supervise.identity import inode_of
from obelisk_ops.supervise.sidecar import Lock, Sidecar, read_note


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    What was replaced.

    Attributes:
        name: The backup it belongs to.
        epoch: The epoch that was opened for it; None if none was.
        txid: The last transaction of it in the bucket; None if not known.
        replaced_at_ms: UTC milliseconds.
    """

    name: str
    epoch: int | None
    txid: int | None
    replaced_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What took the place, and where that is kept which was there; ``size`` is its bytes."""

    restored: Restored
    kept: Path
    what: Kept
    size: int


_decode_kept = msgspec.json.Decoder(Kept).decode


def refuse_if_held(database: Path) -> None:
    """
    Refuse a database that an engine or a supervisor holds; nothing is written.

    Raises:
        DatabaseNotFound: There is none.
        UsageError: It is no file of its own.
        DatabaseLocked: A process holds it.
    """
    check_database(database)
    if beside.is_owned(database):
        raise DatabaseLocked(
            f"an engine has {database} open", hint="stop the worker or the run that uses it"
        )
    sidecar = Sidecar(database)
    if sidecar.folder.is_dir():
        _without_supervisor(sidecar).release()


class Rollback:
    """One database, and its replica."""

    def __init__(self, source: Source, database: Path, clock: Clock) -> None:
        self._source, self._database, self._clock = source, database, clock

    def run(self, wish: When, progress: Progress) -> RolledBack:
        """
        Set the database back to the state that *wish* means.

        Raises:
            DatabaseNotFound: There is none.
            DatabaseLocked: An engine, a supervisor or another program has it open.
            OpsError: See ``service.restore``; the database is as it was.
        """
        database = self._database
        check_database(database)
        now_ms = self._clock.now_ms()
        kept = kept_path(database, now_ms)
        with _held(database):
            what = self._what_is_there(now_ms)

            def publish(copy: Path, target: Path, origin: bytes) -> None:
                with alone_with(target):
                    exchange(
                        copy, target, kept=kept, what=msgspec.json.encode(what), origin=origin
                    )

            restored = service.restore_beside(
                self._source, wish, database, clock=self._clock, progress=progress,
                publish=publish,
            )  # fmt: skip
        return RolledBack(restored=restored, kept=kept, what=what, size=kept.stat().st_size)

    def _what_is_there(self, now_ms: int) -> Kept:
        owner = Sidecar(self._database).owner()
        epoch, txid = None, None
        if owner is not None and owner.inode == inode_of(self._database):
            replica = read_replica(self._source.store, self._source.keys)
            history, epoch = replica.history(owner.epoch), owner.epoch
            # Nothing more of this file will be shipped: no supervisor has it.
            txid = history.points[-1].txid if history and history.points else None
        return Kept(name=self._source.keys.name, epoch=epoch, txid=txid, replaced_at_ms=now_ms)


def undo(name: str, database: Path, kept: Path, clock: Clock) -> Path:
    """
    Put a file back that a rollback has replaced; what is there now is kept in turn.

    Returns:
        Where that is kept.

    Raises:
        DatabaseNotFound: There is no such file, or no database.
        Conflict: It is no file that a rollback of this database has kept.
        DatabaseLocked: An engine, a supervisor or another program has the database open.
        StorageUnavailable: The disk refuses; all is as it was.
    """
    check_database(database)
    was = read_kept(name, database, kept)
    now_ms, second = clock.now_ms(), kept_path(database, clock.now_ms())
    with _held(database), alone_with(database):
        owner = Sidecar(database).owner()
        ours = owner if owner is not None and owner.inode == inode_of(database) else None
        what = Kept(
            name=name, epoch=ours.epoch if ours else None, txid=None, replaced_at_ms=now_ms
        )
        exchange(
            kept, database, kept=second, what=msgspec.json.encode(what),
            origin=_origin(was, kept, now_ms),
        )  # fmt: skip
    note_of(kept).unlink(missing_ok=True)
    return second


def read_kept(name: str, database: Path, kept: Path) -> Kept:
    """
    Return what a kept file is.

    Raises:
        DatabaseNotFound: There is no such file.
        Conflict: No rollback of this database has kept it.
    """
    if not kept.is_file():
        others = sorted(database.parent.glob(f".{database.name}.replaced-*Z"))
        there = ", ".join(map(str, others))
        raise DatabaseNotFound(
            f"there is no file {kept}", hint=f"there are: {there}" if there else ""
        )
    what = read_note(note_of(kept), _decode_kept)
    if what is None or what.name != name or kept.parent != database.parent:
        raise Conflict(
            f"{kept} is not what a rollback of '{name}' has kept",
            hint="name the file that the rollback printed",
        )
    if kept.samefile(database):
        raise Conflict(f"{kept} is {database} itself: nothing was replaced", hint="remove it")
    return what


def _without_supervisor(sidecar: Sidecar) -> Lock:
    try:
        return sidecar.lock()
    except DatabaseLocked as held:
        raise DatabaseLocked(
            held.message, hint=f"{held.hint}; do the same again, and then start it again"
        ) from None


@contextmanager
def _held(database: Path) -> Iterator[None]:
    with ExitStack() as stack:
        supervisor = _without_supervisor(Sidecar(database))
        stack.callback(supervisor.release)
        was_killed = beside.killed_owner(database) is not None
        engine = beside.Lock(database)
        # Who was killed before us may have left a commit. Being alone with the file finds it;
        # if it does not come to that, the next engine has to look for it.
        stack.callback(engine.abandon if was_killed else engine.release)
        forget_unfinished(database)
        yield
        for made in (beside.folder(database), *beside.folder(database).glob("*.lock")):
            give(made, like=database)
        engine.release()


def _origin(was: Kept, kept: Path, now_ms: int) -> bytes:
    """Tell the supervisor what the file descends from; nothing where that is not known."""
    if was.epoch is None or was.txid is None:
        return b"{}"
    return msgspec.json.encode({
        "name": was.name, "epoch": was.epoch, "txid": was.txid, "at_ms": now_ms,
        "inode": kept.stat().st_ino, "claim": None,
    })  # fmt: skip
