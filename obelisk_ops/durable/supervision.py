"""
How the owner of a file goes along with the supervisor of it, if there is one.

Checkpoints are left to Litestream while it reads the log; and nothing is started but for as
long as the supervisor allows it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.durable import tether
from obelisk_ops.durable.log import log
from obelisk_ops.durable.work.workshop import Workshop
from obelisk_ops.storage import Address

_LOOK_S = 1.0
_WAL_BYTES_MAX = 16 << 20
_WAL_BYTES_ALARM = 128 << 20


class Supervision:
    """See the module. Used by the loop's thread."""

    def __init__(self, address: Address, store: ArchiveStore, workshop: Workshop) -> None:
        """Learn what may be started; look no further yet."""
        self._address, self._store, self._workshop = address, store, workshop
        self._is_supervised = self._is_alarmed = self._was_shut = False
        self._epoch = ""
        self._timer: asyncio.TimerHandle | None = None
        self._facts = tether.facts(address)
        self._heed()

    def begin(self) -> None:
        """Look, and look again each second."""
        self._epoch = self._store.meta().get("epoch", "")
        self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        """Leave checkpoints to Litestream while it reads the log, and learn the epoch."""
        self._timer = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
        facts = self._facts = tether.facts(self._address, self._facts)
        self._heed()
        if bool(facts) != self._is_supervised:
            self._is_supervised = bool(facts)
            self._store.checkpoint_by_itself(wanted=not facts)
        epoch = facts.get("epoch")
        if isinstance(epoch, int) and str(epoch) != self._epoch:
            self._store.set_epoch(epoch)
            self._epoch = str(epoch)
        if self._is_supervised:
            self._tidy_wal()

    def _heed(self) -> None:
        """Start things for as long as the supervisor allows it; say so when it is over."""
        workshop, told = self._workshop, tether.tether_of(self._facts, self._address)
        workshop.tie(told)
        if workshop.is_shut and not self._was_shut:
            log.warning("no_activity_starts", database=str(self._address), reason=told.why)
        self._was_shut = workshop.is_shut

    def _tidy_wal(self) -> None:
        wal_bytes = _size(self._address)
        # While nothing may be started no Litestream runs either: what it has not read stays in
        # the log, as long as it can. Otherwise it would need another epoch, with a snapshot.
        is_read = not self._workshop.is_shut
        if wal_bytes > (_WAL_BYTES_MAX if is_read else _WAL_BYTES_ALARM):
            self._store.checkpoint()
        is_alarming = wal_bytes > _WAL_BYTES_ALARM
        if is_alarming and not self._is_alarmed:
            log.warning(
                "wal_grows",
                database=str(self._address),
                wal_bytes=wal_bytes,
                hint="a reader holds an old snapshot, or Litestream does not read",
            )
        self._is_alarmed = is_alarming


def _size(path: Address) -> int:
    assert isinstance(path, Path)  # no supervisor looks after a server
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0
