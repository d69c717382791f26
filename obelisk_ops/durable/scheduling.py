"""Schedules as users see them: ``engine.schedule(…)``, and a handle on each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw

from obelisk_ops.core import cron, events
from obelisk_ops.core import schedules as rules
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.cron import Spec
from obelisk_ops.core.ports import LogReader
from obelisk_ops.core.rows import ALL, CronRow
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.registry import created
from obelisk_ops.durable.handle import Handle
from obelisk_ops.durable.schedules import as_created
from obelisk_ops.errors import InvalidInput, WorkflowMisuse

_MS = timedelta(milliseconds=1)
_SHORTEST = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Source(Protocol):
    """What a schedule needs of its engine."""

    async def ask(self, kind: str, target: str, body: str = "{}") -> bool:
        """Ask for something; see core.requests and core.schedules."""
        ...

    def handle(self, execution_id: str) -> Handle[Any]:
        """Return an execution that exists."""
        ...

    def read_cron(self, schedule_id: str) -> CronRow:
        """Return where a schedule stands."""
        ...

    def now_ms(self) -> int:
        """Return the time, UTC milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    A schedule that exists.

    Attributes:
        id: Its id.
        created: Whether the call that returned this made it, or changed it.
    """

    id: str
    created: bool
    _source: Source = field(repr=False)

    def status(self) -> CronRow:
        """
        Return where it stands: paused or not, the next slot, what runs.

        Raises:
            ScheduleNotFound: It was deleted.
        """
        return self._source.read_cron(self.id)

    def spec(self) -> Spec:
        """Return what it does, and when."""
        return rules.decode_spec(self.status())

    def next_times(self, n: int = 5) -> list[datetime]:
        """Return its next slots, in its time zone; those of a paused one as if it were not."""
        return upcoming(self.status(), self._source.now_ms(), n)

    async def pause(self) -> bool:
        """Let nothing of it start until ``unpause``; False when it is paused already."""
        return await self._ask(rules.Request(do="pause"))

    async def unpause(self) -> bool:
        """Let it go on with its next slot; False when it is not paused."""
        return await self._ask(rules.Request(do="unpause"))

    async def delete(self) -> bool:
        """Forget it; what it has started goes on."""
        return await self._ask(rules.Request(do="delete"))

    async def trigger(self) -> Handle[Any]:
        """Start an execution now, whatever runs; its slots stay as they are."""
        row, spec = self.status(), self.spec()
        now_ms = self._source.now_ms()
        # Never on a whole second, where slots are.
        now_ms += int(now_ms % 1000 == 0)
        body = events.encode(as_created(spec, row.id))
        while not await self._source.ask("create", cron.slot_id(row.id, now_ms), body):
            now_ms += 1 + int(now_ms % 1000 == 999)  # noqa: PLR2004
        return self._source.handle(cron.slot_id(row.id, now_ms))

    async def _ask(self, request: rules.Request) -> bool:
        return await self._source.ask(rules.KIND, self.id, encode(request))


def upcoming(row: CronRow, now_ms: int, n: int) -> list[datetime]:
    """Return the next slots of a schedule, in its time zone."""
    spec = rules.decode_spec(row)
    zone = ZoneInfo(spec.timezone)
    slots = islice(cron.slots_after(spec, max(row.last, now_ms)), n)
    return [(_EPOCH + slot * _MS).astimezone(zone) for slot in slots]


def encode(request: rules.Request) -> str:
    """Write a request as the body of a letter."""
    return msgspec.json.encode(request).decode()


def as_ms(value: object, what: str) -> int:
    """
    Return a duration in milliseconds.

    Raises:
        InvalidInput: It is no duration, or negative.
    """
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise InvalidInput(f"{what}={value!r} is no duration", hint="give a timedelta")
    return value // _MS


class Scheduling:
    """The part of Engine that is about schedules."""

    _clock: Clock

    def _reader(self) -> LogReader:
        raise NotImplementedError

    def _welcome(self, function: Workflow[..., Any]) -> None:
        """Serve a workflow from now on, where this engine serves."""
        raise NotImplementedError

    async def ask(self, kind: str, target: str, body: str = "{}") -> bool:
        """See Source.ask."""
        raise NotImplementedError

    def handle(self, execution_id: str) -> Handle[Any]:
        """See Source.handle."""
        raise NotImplementedError

    async def schedule(  # noqa: PLR0913 - keywords, each with a default
        self,
        function: Workflow[..., Any],
        /,
        *args: Any,  # noqa: ANN401 - the workflow's own, checked against its signature
        cron: str = "",
        every: timedelta | None = None,
        timezone: str = "UTC",
        overlap: str = "skip",
        catch_up: str | timedelta = "one",
        id: str | None = None,  # noqa: A002 - it is what everybody calls it
        paused: bool = False,
        replace: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> Schedule:
        """
        Start a workflow at certain times, again and again.

        Args:
            function: The workflow.
            *args: Its arguments.
            cron: Five fields (minute, hour, day of the month, month, day of the week),
                or ``@hourly``, ``@daily`` and the like.
            every: Instead of ``cron``: at multiples of this since 1970, a second at least.
            timezone: In which ``cron`` is read.
            overlap: When one of its executions still runs: ``skip``, ``allow``,
                ``buffer_one`` (one waits), or ``cancel_other`` (what runs is cancelled).
            catch_up: Of slots that nobody was there for: ``one`` (the last), ``all``,
                ``none``, or those that are not older than a timedelta.
            id: The schedule's id; by default the workflow's name. The same id with the
                same facts attaches to what exists.
            paused: Begin paused.
            replace: Let another schedule of the same id give way.
            **kwargs: The workflow's arguments by name.

        Raises:
            InvalidInput: The times make no sense, or the arguments do not fit.
            ScheduleExists: The id is taken by a schedule with other facts.
            StorageUnavailable: It could not be made durable.
        """
        if not isinstance(function, Workflow):
            raise WorkflowMisuse(
                f"{function!r} is no workflow", hint="decorate it with @workflow"
            )
        text = function.codec.encode_input(args, kwargs)
        function.codec.decode_input(text)
        spec = Spec(
            fn=function.name, input=Raw(text), cron=cron, every=_interval(every),
            timezone=timezone, overlap=overlap, catch_up=_catch_up(catch_up),
        )  # fmt: skip
        name = function.name if id is None else id
        return await self.put_schedule(function, name, spec, paused=paused, replace=replace)

    async def put_schedule(
        self,
        function: Workflow[..., Any],
        schedule_id: str,
        spec: Spec,
        *,
        paused: bool = False,
        replace: bool = False,
    ) -> Schedule:
        """Do the same as ``schedule`` with the facts as a value."""
        schedule_id = rules.checked_id(schedule_id)
        spec = cron.checked(spec, self.now_ms())
        known = created(function, spec.input)
        spec = msgspec.structs.replace(
            spec, timeout=known.timeout, cancellable=known.cancellable
        )
        self._welcome(function)
        request = rules.Request(do="put", spec=spec, paused=paused, replace=replace)
        is_new = await self.ask(rules.KIND, schedule_id, encode(request))
        return Schedule(schedule_id, is_new, self)

    def schedules(self) -> list[Schedule]:
        """Return all schedules of the database, by id."""
        reader = self._reader()
        known = {row.id for row in reader.crons()}
        asked = {one.target for one in reader.letters(ALL) if one.kind == rules.KIND}
        found = [name for name in sorted(known | asked) if rules.as_asked(reader, name)]
        return [Schedule(name, False, self) for name in found]  # noqa: FBT003

    def schedule_handle(self, schedule_id: str) -> Schedule:
        """
        Return a schedule that exists.

        Raises:
            ScheduleNotFound: It does not.
        """
        return Schedule(self.read_cron(schedule_id).id, False, self)  # noqa: FBT003

    def read_cron(self, schedule_id: str) -> CronRow:
        """See Source.read_cron."""
        row = rules.as_asked(self._reader(), schedule_id)
        if row is None:
            raise rules.not_found(schedule_id)
        return row

    def now_ms(self) -> int:
        """See Source.now_ms."""
        return self._clock.now_ms()


def _interval(every: timedelta | None) -> int:
    if every is None:
        return 0
    if as_ms(every, "every") < as_ms(_SHORTEST, "every"):
        raise InvalidInput(
            f"every={every} is too short: a second at least",
            hint="for something more frequent let one workflow sleep in a loop",
        )
    return every // _MS


def _catch_up(value: str | timedelta) -> str | int:
    return value if isinstance(value, str) else as_ms(value, "catch_up")
