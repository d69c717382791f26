"""
Whether what was shipped is surely what the database holds.

Four things that Litestream 0.5.17 does not notice make the replica another thing than the
database, and it goes on shipping:

- An owner was killed in the middle of a commit, and Litestream's next checkpoint has
  shipped that commit and then put an end to it (storage/sqlite/recovery.py).
- Somebody else was, a plain application or a command that was posting a letter, and another
  commit was written over that one (witness.py).
- While Litestream was away, the write-ahead log was begun anew with commits in it that it
  had not read (litestream.local.is_overtaken).
- Objects that it had shipped are gone from the bucket (custody.py). It never ships them again.

And somebody else may write into its epoch (intruders.py).

None can be mended in the epoch: it ends, and the next one begins with a snapshot. The
note ``suspect`` beside the database keeps that in mind over restarts of the supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from obelisk_ops.errors import OpsError
from obelisk_ops.litestream.local import Shipped, is_overtaken, newest_txid, read_shipped
from obelisk_ops.replica.layout import epoch_name
from obelisk_ops.storage.sqlite import beside
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.ledger import Intrusion, Loss
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.witness import Witness

_RETRY_MS = 2_000
_LAST_LOOK_S = 5.0
_SUSPECT = "what was shipped may differ from the file: a new epoch will begin with a snapshot"
#: An epoch that lost its objects is followed by another not more often than this: where
#: something deletes what it should not, new copies are no cure.
_HEAL_REST_MS = 600_000
#: The same for one that another program wrote into: it may follow.
_PART_REST_MS = 60_000
#: How long that is said, so that whoever looks now and then has seen it.
_SAID_MS = 60_000
_KILLED = "the owner of the file was killed: its last commit is being looked for"
_UNFINISHED = "a commit was shipped that is not finished: its process is at work, or was killed"


class Doubts:
    """What puts the replica of one database in doubt."""

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        sidecar: Sidecar,
        fleet: Fleet,
        on_news: Callable[[], None],
    ) -> None:
        self._name, self._path = name, path
        self._sidecar, self._fleet = sidecar, fleet
        self._on_news = on_news
        self._witness = Witness(name, path, fleet, on_news)
        self._shipped: Shipped | None = None
        self._looking: asyncio.Task[None] | None = None
        self._due_ms = 0
        self._since_ms: int | None = None
        self._healed_ms: int | None = None
        self._intrusion: Intrusion | None = None
        self._intruded_ms = self._intruding_ms = 0
        self._parted_ms: int | None = None

    def problem(self) -> Problem | None:
        """Return what is in doubt, asked anew: an answer that says ok must not be older."""
        if self._sidecar.suspect() is not None:
            text = _SUSPECT
        elif beside.killed_owner(self._path) is not None:
            text = _KILLED
        elif self._witness.since_ms is not None:
            text = _UNFINISHED
        else:
            self._since_ms = None
            return None
        self._since_ms = self._since_ms or self._fleet.clock.elapsed_ms()
        return Problem(code="verification_failed", text=text, since_ms=self._since_ms)

    def look(self, meta: Path | None, *, is_running: bool, txid: int = 0) -> bool:
        """
        Look at the files; tell whether the epoch has to end.

        Args:
            meta: Where Litestream keeps its files of the epoch; None if there is none.
            is_running: Whether its process runs.
            txid: The last transaction in its files; 0 if that is not known.
        """
        self._look_at_owner()
        self._look_at_witness(meta if is_running else None, txid)
        overtaken = self._overtaken(meta, is_running=is_running) if meta else None
        if overtaken is not None:
            self._sidecar.write_suspect(overtaken.txid)
        return self._sidecar.suspect() is not None

    async def vouch(self, meta: Path, txid: int) -> None:
        """
        Return once all up to *txid* that was shipped is known to be in the database.

        Raises:
            Unavailable: It is not, or that cannot be told now.
        """
        await self._witness.vouch(meta, txid)

    def hear(self, loss: Loss | None, intrusion: Intrusion | None, *, said: str) -> None:
        """Take note of what was found in the bucket; *said* is the reason of the state."""
        if loss is not None and said == "lost_objects":
            # It was said, so that whoever listens has heard; now it is mended.
            self._lost(loss)
        if intrusion is not None:
            self._intruded(intrusion)

    def _lost(self, loss: Loss) -> None:
        """Note that the epoch has lost objects: the next one begins with a copy of all."""
        now_ms = self._fleet.clock.elapsed_ms()
        if self._healed_ms is not None and now_ms - self._healed_ms < _HEAL_REST_MS:
            return
        with suppress(OpsError):  # without room for the note there is none for a copy either
            self._sidecar.write_suspect(loss.first - 1)
            self._healed_ms = now_ms
        self._fleet.log.warning(
            "lost_objects", database=self._name, epoch=loss.epoch, first=loss.first,
            last=loss.last,
        )  # fmt: skip

    def _intruded(self, intrusion: Intrusion) -> None:
        """Note that somebody else writes into the epoch: ours goes on in the next one."""
        now_ms = self._intruding_ms = self._fleet.clock.elapsed_ms()
        if intrusion != self._intrusion:
            self._intrusion, self._intruded_ms = intrusion, now_ms
            self._fleet.log.warning(
                "second_writer", database=self._name, epoch=intrusion.epoch,
                first=intrusion.first, why=intrusion.why,
            )  # fmt: skip
        if self._parted_ms is not None and now_ms - self._parted_ms < _PART_REST_MS:
            return
        with suppress(OpsError):  # tried again, as above
            self._sidecar.write_suspect(intrusion.first - 1)
            self._parted_ms = now_ms

    def intruder(self) -> Problem | None:
        """Return what is known of somebody else who writes; said longer than it lasts."""
        intrusion, now_ms = self._intrusion, self._fleet.clock.elapsed_ms()
        if intrusion is None or now_ms - self._intruding_ms >= _SAID_MS:
            return None
        text = f"another program writes into {epoch_name(intrusion.epoch)}"
        return Problem(
            code="second_writer", text=text, since_ms=self._intruded_ms, why=intrusion.why
        )

    async def settle(self) -> None:
        """Look for what a killed owner left behind, and wait a little for the end of it."""
        self._due_ms = 0
        self._look_at_owner()
        if self._looking is not None:
            await asyncio.wait({self._looking}, timeout=_LAST_LOOK_S)

    def _look_at_owner(self) -> None:
        if self._looking is not None and not self._looking.done():
            return
        now_ms = self._fleet.clock.elapsed_ms()
        killed = beside.killed_owner(self._path) if now_ms >= self._due_ms else None
        if killed is not None:
            self._due_ms = now_ms + _RETRY_MS
            self._looking = asyncio.ensure_future(self._look_for_commit(killed))

    def _look_at_witness(self, meta: Path | None, txid: int) -> None:
        if meta is None:
            self._witness.forget()
            return
        self._witness.look(meta, txid)
        if self._witness.doubtful is not None:
            self._sidecar.write_suspect(self._witness.doubtful - 1)

    async def _look_for_commit(self, killed: str) -> None:
        # If another program holds the file locked it is tried again; until then it is in doubt.
        with suppress(OpsError):
            if await asyncio.to_thread(find_overlooked_commit, self._path):
                beside.forget_killed(self._path, killed)
                self._fleet.log.info("owner_killed", database=self._name)
        self._on_news()

    def _overtaken(self, meta: Path, *, is_running: bool) -> Shipped | None:
        # Only when a process has captured something does it surely hold the log.
        if not is_running:
            newest = newest_txid(meta)
            self._shipped = read_shipped(meta, newest) if newest else None
        shipped = self._shipped
        if shipped is None:
            return None
        is_lost = is_overtaken(self._path, shipped)
        if newest_txid(meta) != shipped.txid:
            self._shipped = None
            following = read_shipped(meta, shipped.txid + 1)
            # It read on where it was; its own checkpoint may have begun the log anew since.
            is_lost = is_lost and not (following and following.salts == shipped.salts)
        return shipped if is_lost else None
