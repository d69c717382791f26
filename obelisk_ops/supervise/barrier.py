"""
The durability barrier: is everything that was committed by now in the bucket?

The end of the write-ahead log is measured, Litestream is told to ship what is there, and the
head of a file that it shipped has to show that it reaches that end. What Litestream says of
itself proves nothing. Then, beginning after the upload, the lease is confirmed: whoever takes
over later finds what was uploaded before. Whether the object is really in the bucket is looked
up once the answer is given, so that nobody waits for it; the next answer needs that look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obelisk_ops.durable.supervised import Answer, Refusal
from obelisk_ops.errors import Fenced, OpsError, Unavailable
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.local import covering, read_log_end
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.ownership import Owner
from obelisk_ops.supervise.sharing import Shared

#: Litestream gives up an upload after so long, and is told to try again.
_SYNC_S = 5.0
_TRIES = 5
_AGAIN_S = 0.25
#: So long after an answer it is looked for what was shipped, if nobody asks again before.
_LOOK_S = 0.01
#: For so long it may turn out that nobody else has taken it over.
_DECIDED_MS = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """
    What was shipped.

    Attributes:
        txid: A transaction whose file reaches the end of what was measured.
        owner: The note of its epoch.
    """

    txid: int
    owner: Owner


def find_keeper(keepers: Collection[Keeper], database: Path) -> Keeper | None:
    """Return who looks after the file at *database*, links followed; None if nobody does."""
    by_name = (keeper for keeper in keepers if keeper.path == database)
    # To follow links takes system calls, for each keeper.
    by_file = (keeper for keeper in keepers if keeper.path.resolve() == database)
    return next(by_name, None) or next(by_file, None)


class Barriers:
    """Answers for all databases of a supervisor."""

    def __init__(self, keepers: Callable[[], Collection[Keeper]]) -> None:
        self._keepers = keepers
        self._barriers: dict[str, Barrier] = {}

    async def answer(self, question: dict[str, Any], say: Callable[[Answer], None]) -> Answer:
        """Answer once what was committed before is in the bucket, or never will be."""
        try:
            barrier = self._barrier(str(question["database"]))
            await barrier.passed(lambda reason: say(Answer(note=reason)))
        except (Fenced, Unavailable) as error:
            return Answer(error=Refusal(error.code, error.message, error.hint))
        return Answer()

    def _barrier(self, database: str) -> Barrier:
        barrier = self._barriers.get(database)
        if barrier is None or barrier.is_over:
            self._barriers = {p: kept for p, kept in self._barriers.items() if not kept.is_over}
            barrier = self._barriers[database] = Barrier(self._keeper(Path(database)))
        return barrier

    def _keeper(self, database: Path) -> Keeper:
        keeper = find_keeper(self._keepers(), database)
        if keeper is None:
            raise Unavailable(
                f"this supervisor does not look after {database}",
                hint="name it in the configuration, under 'databases:'",
            )
        return keeper


class Barrier:
    """The barrier of one database; who asks while it ships shares the next shipment."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._shipping = Shared(self._ship)
        self._last: Shipment | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether another one has to be asked."""
        return self._keeper.is_retired

    async def passed(self, told: Callable[[str], None]) -> None:
        """
        Return once what was committed before is in the bucket; say what it waits for.

        Raises:
            Fenced: It never will be: another machine has the right to write.
            Unavailable: It is not looked after here any more.
        """
        said = ""
        while True:
            try:
                shipment = await self._shipping.once()
                await self._prove(shipment)
            except OpsError as error:
                why = self._keeper.why_not() or error.message
                if self._keeper.is_fenced_for(_DECIDED_MS):
                    raise Fenced(why) from None
                if self._keeper.is_retired:
                    # Whoever looks after it from now on is found by asking again.
                    raise Unavailable(why) from None
                if why != said:
                    told(why)
                    said = why
            else:
                # Not now: whoever asked waits until this thread has told the answer.
                asyncio.get_running_loop().call_later(_LOOK_S, self._follow, shipment)
                return
            await asyncio.sleep(_AGAIN_S)

    async def _ship(self) -> Shipment:
        """
        Have everything shipped that is committed now.

        Raises:
            Unavailable: It is not, or that cannot be shown.
        """
        keeper = self._keeper
        for _ in range(_TRIES):
            owner, process = keeper.owner, keeper.process
            if owner is None or process is None:
                raise Unavailable("its replication is being started")
            end = read_log_end(keeper.path)
            txid, replicated_txid = await self._sync(process)
            self._refuse_trouble()
            is_same = keeper.owner is owner and keeper.process is process
            if end is None or not is_same or identity.inode_of(keeper.path) != owner.inode:
                continue  # somebody was committing, or another file is there: measured anew
            found = covering(keeper.meta(owner), txid, end)
            if found is not None and found <= replicated_txid:
                self._last = Shipment(txid=found, owner=owner)
                return self._last
        raise Unavailable("Litestream does not show that it has shipped what was committed")

    async def _sync(self, process: Litestream) -> tuple[int, int]:
        path = self._keeper.path
        synced, _ = await asyncio.gather(
            process.control.sync(path, timeout_s=_SYNC_S), self._followed()
        )
        return synced.txid, synced.replicated_txid

    def _follow(self, shipment: Shipment) -> None:
        """Look for what was shipped last, unless that is under way or done."""
        if self._looking is None and shipment is self._last:
            self._looking = asyncio.ensure_future(self._look_for(shipment))
            # Who asks next is told what went wrong, or nobody.
            self._looking.add_done_callback(lambda look: look.cancelled() or look.exception())

    async def _followed(self) -> None:
        """
        Return once it was looked for what was shipped last.

        Raises:
            OpsError: The bucket does not answer; it has to be looked for again.
        """
        if self._last is not None:
            self._follow(self._last)
        looking = self._looking
        if looking is not None:
            try:
                await looking
            finally:
                if self._looking is looking:
                    self._looking = None

    async def _look_for(self, shipment: Shipment) -> None:
        if not self._is_listed(shipment):
            name = ltx.Name(level=0, min_txid=shipment.txid, max_txid=shipment.txid)
            key = self._keeper.keys.epoch(shipment.owner.epoch) + ltx.file_name(name)
            tracker = self._keeper.tracker
            is_there = await self._keeper.fleet.bucket.call(lambda store: store.is_there(key))
            if not is_there and tracker is not None:
                # Compacted away, or never arrived: a listing of everything tells which.
                tracker.custody.alarm(promised=shipment.txid)
        if self._last is shipment:
            self._last = None

    def _is_listed(self, shipment: Shipment) -> bool:
        """Tell whether a listing showed it and all before it, or its epoch is over."""
        keeper, tracker = self._keeper, self._keeper.tracker
        if shipment.owner is not keeper.owner or tracker is None:
            return True
        return tracker.chain is not None and tracker.chain.reached >= shipment.txid

    def _refuse_trouble(self) -> None:
        """Raise what is known to be wrong with what was shipped before."""
        tracker = self._keeper.tracker
        doubt = self._keeper.doubts.problem()
        problem = doubt or (tracker and (tracker.scout.problem or tracker.missing))
        if problem:
            raise Unavailable(problem.text)
        if tracker and tracker.custody.is_alarmed:
            raise Unavailable(
                "it is not known yet whether the bucket holds what was shipped before"
            )

    async def _prove(self, shipment: Shipment) -> None:
        """
        Have the bucket confirm that we had the right to ship it, and the disk that it is true.

        A commit that somebody was killed in may have been shipped, and ours written over it:
        then what was shipped reaches the end of ours, and does not hold it (witness.py).

        Raises:
            Fenced: The right was lost; the shipment may not be a part of the history.
            OpsError: The bucket does not answer, or it is not known what was shipped.
        """
        keeper, owner = self._keeper, shipment.owner
        await asyncio.gather(
            keeper.fleet.lease.confirm(keeper.name, owner.epoch),
            self._vouched(shipment),
        )

    async def _vouched(self, shipment: Shipment) -> None:
        await asyncio.sleep(0)  # the request to the bucket goes out first
        await self._keeper.doubts.vouch(self._keeper.meta(shipment.owner), shipment.txid)
