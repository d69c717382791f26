"""
Keeps one database replicated: observe, decide, and say what it needs.

The round of the roster comes by twice a second; what has not changed is only glanced at.
What is slow (the bucket) runs beside this loop and leaves its result behind. The process
is run by the runner of its group, which hears from here whether the file may be in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from obelisk_ops.durable.mailroom import wake_owner
from obelisk_ops.errors import Fenced, OpsError, Unavailable
from obelisk_ops.litestream.config import Database
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.doubts import Doubts
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Health, Problem, State, judge
from obelisk_ops.supervise.launch import replicated
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.ledger import Ledger
from obelisk_ops.supervise.observing import Parts, observe
from obelisk_ops.supervise.ownership import Occupant, Owner
from obelisk_ops.supervise.runner import Member, Runner
from obelisk_ops.supervise.seat import Seat
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.surgery import Found, Surgery
from obelisk_ops.supervise.surroundings import Surveyor
from obelisk_ops.supervise.tenure import Tenure
from obelisk_ops.supervise.tracker import Tracker
from obelisk_ops.supervise.vista import Vista
from obelisk_ops.supervise.whereabouts import Whereabouts

#: Between two looks whether anything has changed.
TICK_MS = 500
#: While something is unsent, so that it is seen soon that it no longer is.
BUSY_TICK_MS = 200
#: How long a database that does not change is only glanced at.
_REST_MS = 5_000


class Keeper:
    """
    Looks after one database.

    Attributes:
        health: The last verdict.
        tracker: Its positions; None until its epoch is known.
        doubts: What puts its replica in doubt.
        looked_ms: When it last looked, by ``Clock.elapsed_ms``.
        due_ms: When it has to look again.
        is_retired: Whether it was told to stop looking after it.
    """

    def __init__(self, name: str, path: Path, fleet: Fleet, runner: Runner) -> None:
        self.name, self.path = name, path
        self.health = Health(state=State.STARTING)
        self.tracker: Tracker | None = None
        self.looked_ms = self.due_ms = fleet.clock.elapsed_ms()
        self._fleet = fleet
        self._keys = ReplicaKeys(prefix=fleet.replica.prefix, name=name)
        self._sidecar = Sidecar(path)
        self._vista = Vista(path)
        self._surgery = Surgery(path)
        self._opened_by = 0
        self._seen: tuple[object, ...] = ()
        self._ticked_ms = 0
        self._wake = asyncio.Event()
        news = self._wake.set
        self._tenure = Tenure(name, path, sidecar=self._sidecar, fleet=fleet, on_news=news)
        self._seat = Seat(name, runner, fleet.clock, news)
        self._surveyor = Surveyor(path, fleet.clock)
        self.doubts = Doubts(name, path, sidecar=self._sidecar, fleet=fleet, on_news=news)
        self._file = Whereabouts(path, fleet.clock)
        self._parts = Parts(
            file=self._file, tenure=self._tenure, seat=self._seat, doubts=self.doubts,
            surveyor=self._surveyor, fleet=fleet,
        )  # fmt: skip
        self.is_retired = False
        self._problem: Problem | None = None

    @property
    def fleet(self) -> Fleet:
        """What it shares with the others."""
        return self._fleet

    @property
    def keys(self) -> ReplicaKeys:
        """The keys of its replica."""
        return self._keys

    def meta(self, owner: Owner) -> Path:
        """Return where Litestream keeps its files of an epoch."""
        return self._sidecar.meta(owner.epoch)

    def why_not(self) -> str:
        """Say what stands between this disk and the bucket; empty where nothing does."""
        health = self.verdict()
        return "" if health.state is State.OK else health.detail

    def is_fenced_for(self, ms: int) -> bool:
        """Tell whether another machine has had the right to write for so long."""
        refusal, now_ms = self._tenure.refusal, self._fleet.clock.elapsed_ms()
        if refusal is None or refusal.code != Fenced.code or self.is_undecided:
            return False
        return now_ms - refusal.since_ms >= ms

    @property
    def owner(self) -> Owner | None:
        """The note of its epoch; None until it is known."""
        return self._tenure.owner

    @property
    def occupant(self) -> Occupant | None:
        """Whose the replica is instead, while it is refused here."""
        return self._tenure.occupant if self._tenure.refusal else None

    @property
    def is_undecided(self) -> bool:
        """Tell whether it is refused for an owner that may be dead."""
        return self._tenure.is_undecided

    @property
    def process(self) -> Litestream | None:
        """The Litestream process that has the file open, while it runs."""
        return self._seat.process

    @property
    def group(self) -> str:
        """The group of databases whose process it shares, or is about to share."""
        return self._seat.group

    @property
    def lease(self) -> Holder:
        """The right that it writes by."""
        return self._fleet.lease

    @property
    def is_at_rest(self) -> bool:
        """Tell whether it was retired and nothing of it runs any more."""
        return self.is_retired and self.process is None

    @property
    def is_of_nothing(self) -> bool:
        """Tell whether its file is gone, and neither was a database nor has a past as one."""
        return self._file.is_of_nothing and not self._sidecar.folder.exists()

    @property
    def since_ms(self) -> int:
        """Since when it looks after the file that is there, by ``Clock.elapsed_ms``."""
        return self._file.since_ms

    async def run(self) -> None:
        """Look, decide and act whenever it is woken, until cancelled."""
        while True:
            try:
                await self.tick()
                self._problem = None
            except Exception as error:  # noqa: BLE001 - one database's must not stop the others
                self._fail(error)
            now_ms = self.looked_ms = self._ticked_ms = self._fleet.clock.elapsed_ms()
            self.due_ms = now_ms + (BUSY_TICK_MS if self._is_busy else TICK_MS)
            self._seen = self._sight()
            await self._wake.wait()
            self._wake.clear()

    def glance(self) -> bool:
        """Look whether there is anything to look at, and if so do: tell whether there is."""
        now_ms, tracker = self._fleet.clock.elapsed_ms(), self.tracker
        is_at_rest = self._tenure.is_seeking if tracker is None else tracker.is_settled
        is_due = now_ms - self._ticked_ms >= _REST_MS or (tracker and tracker.is_due())
        has_news = bool(not is_at_rest or is_due or self._sight() != self._seen)
        if has_news:
            self._wake.set()
        elif tracker is not None:
            tracker.saw_nothing_new()
        self.looked_ms, self.due_ms = now_ms, now_ms + TICK_MS
        return has_news

    @property
    def _is_busy(self) -> bool:
        return self.tracker is not None and not self.tracker.is_settled

    def _sight(self) -> tuple[object, ...]:
        return (*self._vista.look(), self._fleet.bucket.problem)

    async def tick(self) -> None:
        """Look once, decide once, act once."""
        self._look_at_file()
        if self._tenure.look_at_lease(is_at_rest=self.process is None):
            self._drop_tracker()
        self._look_at_epoch()
        await self._look_at_surgery()
        self._look_at_doubts()
        self._ask_for_process()
        await self._look_at_position()
        if self.doubts.problem() is None:
            # While SQLite itself is at work in this process, a look at its index, closed
            # again, would take its locks away: they belong to the process.
            self._surveyor.look(litestream=self.process.pid if self.process else None)
        self._judge()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def retire(self) -> None:
        """Stop looking after this database; its process is asked to let go of it."""
        self.is_retired = True
        self._seat.leave()
        self._wake.set()

    def move(self, runner: Runner) -> None:
        """Change to the process of another group."""
        self._seat.move(runner)

    def release(self) -> None:
        """Let go of everything."""
        if self.tracker:
            self.tracker.close()
        self._tenure.release()
        self._seat.part()

    def _look_at_file(self) -> None:
        change = self._file.look()
        if change is None:
            return
        if change:
            self._fleet.log.warning("file_changed", database=self.name, what=change)
        self._tenure.end()
        self._drop_tracker()

    def _look_at_epoch(self) -> None:
        tracker = self.tracker
        if tracker is not None and tracker.scout.superseded and not self._tenure.refusal:
            self._tenure.supersede(tracker.scout.superseded)
            self._drop_tracker()
        owner = self.owner
        if owner is not None and self.tracker is None:
            self.tracker = Tracker(
                self.path,
                self._keys,
                meta=self._sidecar.meta(owner.epoch),
                ledger=Ledger(self._sidecar.folder, epoch=owner.epoch, owner=owner.owner),
                fleet=self._fleet,
                on_news=self._wake.set,
            )
            wake_owner(self.path)  # it may wait for somebody who looks after its file
        is_free = owner is None and not self.is_retired and not self.process
        if is_free and self._file.inode is not None:
            # A process of the file that was here before has to be gone first.
            self._tenure.seek(self._file.inode)

    async def _look_at_surgery(self) -> None:
        owner, process, tracker = self.owner, self.process, self.tracker
        if owner is None or process is None or tracker is None or tracker.local is None:
            self._surgery.forget()
            return
        if self._opened_by != process.pid:
            # Until it has the file open, others may make and remove what lies beside it.
            self._surgery.forget()
            self._opened_by = process.pid if await self._ask_txid() else 0
            return
        meta = self._sidecar.meta(owner.epoch)
        found = self._surgery.look(meta, pid=process.pid, txid=tracker.local.txid)
        if found is None:
            return
        if found is Found.FORGOTTEN:
            # Started anew, it takes its position from the bucket and begins with a snapshot.
            self._seat.runner.halt()
            self._sidecar.mark_meta(owner)
        else:
            self._sidecar.write_suspect(self._surgery.trusted_txid)
        # Not before the note is written: what a full disk refuses is found again.
        self._surgery.forget()
        self._fleet.log.warning("file_changed", database=self.name, what=found.value)

    def _look_at_doubts(self) -> None:
        owner = self.owner
        meta = self._sidecar.meta(owner.epoch) if owner else None
        tracker, is_running = self.tracker, self.process is not None
        if tracker is not None:
            self.doubts.hear(tracker.loss, tracker.intrusion, said=self.health.reason)
        txid = tracker.local.txid if tracker and tracker.local else 0
        if self.doubts.look(meta, is_running=is_running, txid=txid) and owner:
            self._fleet.log.warning("epoch_in_doubt", database=self.name, epoch=owner.epoch)
            # Without an epoch the process is ended at once, and a new one is sought.
            self._tenure.end()
            self._drop_tracker()

    def _ask_for_process(self) -> None:
        if self.is_retired:
            return
        # Until it is known which epoch the file belongs to, nothing may run for it; and what
        # runs without the right to write is ended without a last sync.
        may_write = self.lease.may_write() and not self._tenure.refusal
        owner, inode = self.owner if may_write else None, self._file.inode
        member = Member(
            database=self._replicated(owner) if owner else None,
            inode=inode if owner else None,
            is_awaited=inode is not None and self._tenure.is_hopeful,
        )
        self._seat.want(member)

    def _replicated(self, owner: Owner) -> Database:
        return replicated(
            self.path,
            meta=self._sidecar.meta(owner.epoch),
            keys=self._keys,
            epoch=owner.epoch,
            replica=self._fleet.replica,
            litestream=self._fleet.litestream,
        )

    async def _look_at_position(self) -> None:
        tracker = self.tracker
        if tracker is None:
            return
        if tracker.needs_look():
            tracker.saw(await self._ask_txid())
        else:
            tracker.saw_nothing_new()
        tracker.heard(self._seat.runner.words(self.path))
        tracker.ask_bucket()

    async def _ask_txid(self) -> int:
        """Return what Litestream says, and 0 if it says nothing: then its files are read."""
        process = self.process
        if process is None:
            return 0
        try:
            txid = await process.control.txid(self.path)
        except Unavailable:
            return 0
        self._seat.runner.answered()
        return txid

    def _fail(self, error: Exception) -> None:
        """Say why a look did not come to its end: of an error of ours, and of a bug."""
        if isinstance(error, OpsError):
            event, code, text = "look_failed", error.code, error.message
        else:
            event, code = "bug", "internal"
            text = f"this is a bug: {type(error).__name__}: {error}"
        now_ms = self._fleet.clock.elapsed_ms()
        known = self._problem
        if known is None or known.text != text:
            self._fleet.log.warning(event, database=self.name, error=text)
            known = Problem(code=code, text=text, since_ms=now_ms)
        self._problem = known

    def _drop_tracker(self) -> None:
        if self.tracker:
            self.tracker.close()
        self.tracker = None

    def verdict(self) -> Health:
        """Judge anew, as of this moment."""
        seen = observe(self._parts, self.tracker, bug=self._problem)
        return judge(seen, now_ms=self._fleet.clock.elapsed_ms())

    def _judge(self) -> None:
        before, self.health = self.health, self.verdict()
        if self.health.state is before.state:
            return
        is_good = self.health.state in {State.OK, State.STARTING}
        log = self._fleet.log.info if is_good else self._fleet.log.warning
        log(
            "state", database=self.name, state=self.health.state.value,
            was=before.state.value, detail=self.health.detail,
        )  # fmt: skip
