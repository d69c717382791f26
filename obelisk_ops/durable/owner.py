"""What an engine holds while it owns a database: the lock, the store, scheduler, mailroom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

from obelisk_ops.core import events
from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.attach import refuse_other_input
from obelisk_ops.core.barrier import Barrier
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import State
from obelisk_ops.core.requests import MAKING, REQUESTS, execution_of
from obelisk_ops.durable import enquiry, tether
from obelisk_ops.durable.claiming import Claiming
from obelisk_ops.durable.commits import closed_error
from obelisk_ops.durable.fellows import Fellows
from obelisk_ops.durable.flow.attempt import Key
from obelisk_ops.durable.flow.lines import hook
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.letters import Letters
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.log import log
from obelisk_ops.durable.mailroom import Bell, Mailroom, Watch, bell_of
from obelisk_ops.durable.others import Others
from obelisk_ops.durable.requests import Later
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.durable.signposts import ask_the_way
from obelisk_ops.durable.supervised import barrier_of
from obelisk_ops.durable.supervision import Supervision
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import ExecutionExists, ExecutionNotFound, FunctionNotFound, OpsError
from obelisk_ops.storage import Address, Place, open_mailbox, own
from obelisk_ops.storage.unbegun import WholeReader

_FAREWELL_S = 3.0
#: A database that lived for a moment is claimed first, and a Litestream started for it.
_FIRST_FAREWELL_S = 15.0
_GATED = "the bucket is to hold it first"


class Owner:
    """One process, one database."""

    def __init__(
        self,
        address: Address,
        clock: Clock,
        registry: Registry,
        limits: Limits,
        opening: Callable[[Any], ArchiveStore] | None = None,
        barrier: Barrier | None = None,
    ) -> None:
        """
        Take the database, and go on with what is unfinished in it.

        Args:
            address: The file, or the schema on a server.
            clock: Where the time comes from.
            registry: The workflows that are served.
            limits: How much, and how patiently.
            opening: How its store is opened, where a test puts something before it.
            barrier: What is asked whether the bucket holds it; by default the supervisor.

        Raises:
            DatabaseLocked: Another process owns the file.
            CorruptDatabase: It is damaged.
        """
        self._address, self._clock, self._registry = address, clock, registry
        self._grace_s = limits.grace_s
        self._barrier = barrier or barrier_of(address)
        self._held = own(address, opening, limits.storage_timeout_s)
        self.store: ArchiveStore = self._held.store
        self.reader = WholeReader(self.store)
        with ExitStack() as begun:
            self._begin(limits, begun)
            self._begun = begun.pop_all()

    def _begin(self, limits: Limits, begun: ExitStack) -> None:
        """Begin all that there is to an owner; what ends it is noted, should the rest fail."""
        begun.callback(self._held.release)
        begun.callback(self.store.close)
        begun.callback(self._barrier.close)
        self._scheduler = Scheduler(
            self.store, self._clock, self._registry, self._barrier, limits, self._held.board
        )
        begun.callback(self._scheduler.stop)
        self._scheduler.workshop.load(self.store)
        self._letters = Letters(self.store, self._scheduler)
        bell = bell_of(self._address, self._asked)
        begun.callback(bell.take_down)
        failed = self._scheduler.commits.fail
        self._shared, self._others = self._held.shared, self._find_others(bell)
        self._mailroom = Mailroom(bell, self._looking(), self._woken, failed)
        begun.callback(self._mailroom.close)
        self._scheduler.workshop.follows_crash = not self._held.last_owner_closed
        self._supervision = Supervision(self._address, self.store, self._scheduler.workshop)
        begun.callback(self._supervision.close)
        self._claiming = self._claim(limits)
        if self._claiming is not None:
            begun.callback(self._claiming.close)
        self._scheduler.offers.load()
        self._scheduler.nursery.recover()
        if self._shared is None or self._shared.is_keeper:
            self._scheduler.schedules.take_up()
        self._supervision.begin()
        hook.add()
        begun.callback(hook.remove)

    def _find_others(self, bell: Bell) -> Others | None:
        shared = self._held.shared
        if shared is None:
            return None
        found = Others(self._address, shared, self.reader, self._scheduler, bell)
        self._scheduler.schedules.cancel = found.cancel
        return found

    def _looking(self) -> Callable[[], float]:
        if self._shared is None:
            return Watch(self.store, self._deliver).look
        return Fellows(self._shared, self._scheduler, self._deliver).look

    async def close(self, *, grace_s: float | None = None) -> None:
        """
        Let activities end, commit, and let go of the database. Twice is allowed.

        Args:
            grace_s: How long they may take; as the limits say, if left out.
        """
        if self._scheduler.is_closed:
            return
        self._supervision.close()
        self._mailroom.close()
        if self._others is not None:
            self._others.ends.stir()
        try:
            if self._claiming is not None:
                self._claiming.stop()
            await self._scheduler.close(self._grace_s if grace_s is None else grace_s)
            await self._say_farewell()
        finally:
            self._begun.close()

    def _claim(self, limits: Limits) -> Claiming | None:
        """Make attempts of what other owners, or those before this one, have offered."""
        if not (limits.bench.is_shared and isinstance(self._address, Place)):
            return None
        return Claiming(
            self._address, self._scheduler.workshop, self._clock, self._registry, limits,
            failed=self._scheduler.commits.fail,
        )  # fmt: skip

    async def _say_farewell(self) -> None:
        """Have shipped what was written here, where somebody ships it; say what is not."""
        gate = self._scheduler.commits.gate
        is_known = gate.is_safe or gate.gave_up or self.has_failed
        if is_known:
            return
        is_found = bool(tether.facts(self._address))
        if not is_found and not await ask_the_way(self._address):
            return  # nobody ships it
        try:
            async with asyncio.timeout(_FAREWELL_S if is_found else _FIRST_FAREWELL_S):
                await self._barrier.passed(_nothing)
        except (OpsError, TimeoutError) as error:
            log.warning("unsent", database=str(self._address), reason=str(error) or "no answer")

    def is_settled(self, *, with_attempts: bool = True) -> bool:
        """Tell whether nothing happens any more until something arrives, or comes due."""
        return self._scheduler.is_settled(with_attempts=with_attempts)

    def serve(self, names: Sequence[str]) -> None:
        """Go on with unfinished executions of workflows that are served from now on."""
        if names:
            self._scheduler.nursery.adopt(names)
            self._scheduler.schedules.adopt(names)
            if self._shared is not None:
                self._mailroom.look_soon()  # so that the others know

    async def create(
        self, execution_id: str, body: events.Created, *, is_fresh: bool = False
    ) -> bool:
        """
        Create an execution or attach to it; return whether it is new, once durable.

        Args:
            execution_id: Its id.
            body: What it is.
            is_fresh: Whether nobody else can know the id: it was just drawn.

        Raises:
            ExecutionExists: It exists with another function or input.
        """
        known = None if is_fresh else await self._how_created(execution_id)
        if known is None:
            try:
                await self._durable(self._scheduler.nursery.begin(execution_id, body))
            except ExecutionExists:
                if self._shared is None:
                    raise
                known = await self._how_created(execution_id)  # another worker was faster
        if known is not None:
            refuse_other_input(execution_id, known, events.encode(body))
            await self._durable(self._scheduler.fence(execution_id))
        return known is None

    async def _how_created(self, execution_id: str) -> str | None:
        look = self._letters.how_created if self._shared is None else self._letters.how_asked
        while True:
            try:
                return look(execution_id)
            except Later:
                await self._durable(self._scheduler.open())

    @staticmethod
    async def _durable(turn: Turn) -> None:
        durable = asyncio.get_running_loop().create_future()
        turn.acks.append(durable)
        await durable

    def post(self, kind: str, target: str, body: str) -> int:
        """
        Ask something of an execution; return the number of the letter, 0 if it is so already.

        Raises:
            Conflict: It contradicts what is; see ``core.requests``.
            NotFound: There is no such execution, or call.
        """
        with closing(open_mailbox(self._address)) as mailbox:
            is_news = mailbox.ask(kind, target, body, now_ms=self._clock.now_ms())
            return mailbox.last_letter if is_news else 0

    async def answered(self, kind: str, target: str, body: str, posted: int) -> None:
        """
        Return once what was asked is done, and durable.

        Raises:
            InvalidInput: A signal, or a stub's result, does not fit.
        """
        if posted:
            letter = (kind, target, body)
            self._letters.own[letter] = None
            await self.answer_letters()
            refusal = self._letters.own.pop(letter, None)
            if refusal is not None:
                raise refusal
            if self._others is not None:
                await self._others.answered(posted)
        concerned = execution_of(kind, target) if kind in REQUESTS | MAKING else ""
        if self._scheduler.promises.of(concerned):
            await self._durable(self._scheduler.fence(concerned))

    async def answer_letters(self) -> None:
        """Answer what waits in the mailbox now, and return when that is on this disk."""
        while True:
            is_more = self._letters.deliver()
            await self._durable(self._scheduler.open())
            if not is_more:
                return

    @property
    def has_failed(self) -> bool:
        """Whether the database has failed for good; see ``failed``."""
        return self._scheduler.commits.has_failed.is_set()

    async def pruned(self) -> None:
        """Return when all that was asked to be forgotten is."""
        await self._letters.pruning.idle()

    async def failed(self) -> None:
        """Wait until the database fails for good, and raise that."""
        await self._scheduler.failed()

    async def wait(self, execution_id: str) -> events.Finished | None:
        """
        Return when an execution is finished or parked; how it ended, if that was seen here.

        Raises:
            FunctionNotFound: It is unfinished, and its workflow is not served here.
        """
        self._scheduler.check()
        roster, nursery = self._scheduler.roster, self._scheduler.nursery
        execution_id = nursery.latest(execution_id)
        if roster.find(execution_id) is None and self.store.find(execution_id) is None:
            await self.answer_letters()  # one of them may ask for it
        if roster.find(execution_id) is None:
            # What is to be recovered has been; how it ended may be known outside.
            await self._durable(self._scheduler.fence(execution_id))
        if self._scheduler.is_closed:
            raise closed_error()
        execution_id = nursery.latest(execution_id)
        if self._others is not None and self._others.has(execution_id):
            await self._others.ended(execution_id)
            return None
        if roster.find(execution_id) is None and self._is_over(execution_id):
            return None
        return await roster.wait(execution_id)

    def _is_over(self, execution_id: str) -> bool:
        row = self.store.find(execution_id)
        if row is None:
            raise ExecutionNotFound(f"{self._address} has no execution {execution_id!r}")
        if row.state in (State.FINISHED, State.PARKED):
            return True
        if self._scheduler.nursery.is_unserved(row):
            raise FunctionNotFound(
                f"execution {execution_id!r} runs {row.function}, which is not served here",
                hint="name its module: Engine(…, workflows=[module])",
            )
        return False

    def _woken(self, said: Sequence[str]) -> bool:
        """Look after what may have come: letters, or a supervisor."""
        self._scheduler.commits.gate.wake()
        if self._others is not None:
            return self._others.heard(said, self._deliver)
        self._deliver()
        return False

    def _deliver(self) -> None:
        self._scheduler.commits.gate.wake()
        self._letters.deliver()
        self._scheduler.offers.look()

    def _asked(self, datagram: bytes) -> None:
        """Answer what only the owner knows; see ``enquiry``."""
        question = enquiry.read(datagram)
        if question is None:
            return
        unserved = [name for name in question.functions if self._registry.get(name) is None]
        why, gated = self._scheduler.workshop.why, self._gated()
        reasons = [
            (*key, why(key) or (_GATED if key in gated else None)) for key in question.calls
        ]
        calls = [(key, n, why) for key, n, why in reasons if why is not None]
        gate = self._scheduler.commits.gate
        held = [key for key in question.executions if gate.holds(key)]
        reply = enquiry.Reply(unserved, calls, held, gate.trouble)
        enquiry.answer(self._address, question, reply)

    def _gated(self) -> set[Key]:
        """Return the calls of which an attempt starts once the bucket holds that."""
        starts = (self._scheduler.start_attempt, self._scheduler.start_soon)
        return {
            (args[0].key, args[1])
            for turn in self._scheduler.commits.gate
            for call, args in turn.effects
            if call in starts
        }


def _nothing(_reason: str) -> None:
    """Nobody is there any more who waits."""
