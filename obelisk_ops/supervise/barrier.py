"""
The durability barrier: is everything that was committed by now in the bucket?

The end of the write-ahead log is measured, Litestream is told to ship what is there, and the
head of a file that it shipped has to show that it reaches that end. What Litestream says of
itself proves nothing. Then, beginning after the upload, the lease is confirmed: whoever takes
over later finds what was uploaded before. While Litestream uploads there is time to look
whether the object of the barrier before is really in the bucket, which costs nothing then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obelisk_ops.durable.supervised import Answer, Refusal
from obelisk_ops.errors import Fenced, ObjectNotFound, OpsError, Unavailable
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


class Barriers:
    """Answers for all databases of a supervisor."""

    def __init__(self, keepers: Callable[[], Iterable[Keeper]]) -> None:
        self._keepers = keepers
        self._barriers: dict[Keeper, Barrier] = {}

    async def answer(self, question: dict[str, Any], say: Callable[[Answer], None]) -> Answer:
        """Answer once what was committed before is in the bucket, or never will be."""
        try:
            keeper = self._keeper(str(question["database"]))
            await self._barrier(keeper).passed(lambda reason: say(Answer(note=reason)))
        except (Fenced, Unavailable) as error:
            return Answer(error=Refusal(error.code, error.message, error.hint))
        return Answer()

    def _barrier(self, keeper: Keeper) -> Barrier:
        if keeper not in self._barriers:
            present = set(self._keepers())
            self._barriers = {k: kept for k, kept in self._barriers.items() if k in present}
            self._barriers[keeper] = Barrier(keeper)
        return self._barriers[keeper]

    def _keeper(self, database: str) -> Keeper:
        for keeper in self._keepers():
            if keeper.path == Path(database) or keeper.path.resolve() == Path(database):
                return keeper
        raise Unavailable(
            f"this supervisor does not look after {database}",
            hint="name it in the configuration, under 'databases:'",
        )


class Barrier:
    """The barrier of one database; who asks while it ships shares the next shipment."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._shipping = Shared(self._ship)
        self._last: Shipment | None = None

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
                await self._prove(await self._shipping.once())
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
            self._refuse_trouble()
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
            process.control.sync(path, timeout_s=_SYNC_S), self._look_for_last()
        )
        return synced.txid, synced.replicated_txid

    async def _look_for_last(self) -> None:
        last, keeper, tracker = self._last, self._keeper, self._keeper.tracker
        if last is None or last.owner is not keeper.owner or tracker is None:
            return
        if tracker.chain is not None and tracker.chain.reached >= last.txid:
            return  # it was listed, and all that lies before it
        name = ltx.Name(level=0, min_txid=last.txid, max_txid=last.txid)
        key = keeper.keys.epoch(last.owner.epoch) + ltx.file_name(name)
        try:
            await keeper.fleet.bucket.call(lambda store: store.head(key))
        except ObjectNotFound:
            # Compacted away, or never arrived: a listing of everything tells which.
            tracker.custody.alarm(promised=last.txid)

    def _refuse_trouble(self) -> None:
        """Raise what is known to be wrong with what was shipped before."""
        tracker = self._keeper.tracker
        doubt = self._keeper.doubts.problem()
        problem = doubt or (tracker and (tracker.problem or tracker.missing))
        if problem:
            raise Unavailable(problem.text)
        if tracker and tracker.custody.is_alarmed:
            raise Unavailable(
                "it is not known yet whether the bucket holds what was shipped before"
            )

    async def _prove(self, shipment: Shipment) -> None:
        """
        Have the bucket confirm that we had the right to ship it.

        Raises:
            Fenced: The right was lost; the shipment may not be a part of the history.
            OpsError: The bucket does not answer.
        """
        lease = self._keeper.fleet.lease
        await lease.confirm(self._keeper.name, shipment.owner.epoch)
