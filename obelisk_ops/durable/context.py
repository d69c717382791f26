"""What workflow code calls besides its activities: time, chance, waiting, join sets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast
from uuid import UUID

from obelisk_ops.durable.functions import Activity, Call, Workflow, current_driver
from obelisk_ops.durable.machine import Machine
from obelisk_ops.durable.promise import Promise
from obelisk_ops.errors import WorkflowMisuse

_LONGEST_S = 900 * 366 * 86_400.0

P = ParamSpec("P")
R = TypeVar("R")


def now() -> datetime:
    """
    Return the time (UTC) of the latest thing the workflow was told: the same on replay.

    It stands still between two awaits, and costs nothing to record.
    """
    return datetime.fromtimestamp(_machine("now()").at / 1000, tz=UTC)


def random() -> Random:
    """Return this execution's random numbers: the same on replay, on every platform."""
    return _machine("random()").random


def uuid4() -> UUID:
    """Return a UUID: the same on replay."""
    return _machine("uuid4()").random.uuid4()


def execution_id() -> str:
    """Return the id of this execution."""
    return _machine("execution_id()").id


class sleep:  # noqa: N801 - it is called like a function
    """
    ``await sleep(timedelta(hours=1))``: a durable timer.

    It survives the process: what is left of the wait goes on after a restart, and a
    timer that came due meanwhile fires at once.
    """

    __slots__ = ("_wait",)

    def __init__(self, duration: timedelta | float) -> None:
        """
        Make a timer; it is set when awaited.

        Args:
            duration: How long; a number counts seconds.

        Raises:
            WorkflowMisuse: It is not called in a workflow.
        """
        self._wait = _milliseconds(duration)
        _machine("sleep()").note_call(self, "sleep()")

    def __await__(self) -> Generator[Promise, None, None]:
        promise = Promise()
        _machine("sleep()").set_timer(self._wait, promise=promise, made=self)
        yield from promise.__await__()


class join_set:  # noqa: N801 - it is called like a function
    """
    Calls that run at the same time, answered in the order in which they end.

    ``async with join_set("parcels") as parcels:`` — leaving the block closes it: what
    still runs is cancelled (activities, delays) or awaited (child workflows), in
    reverse order. An error of a member that nobody looked at is raised on leaving.
    """

    def __init__(self, name: str | None = None) -> None:
        """
        Make a join set.

        Raises:
            WorkflowMisuse: The name is taken in this execution, or not a plain word.
        """
        self._machine = _machine("join_set()")
        if name is not None and not name.replace("-", "").replace("_", "").isalnum():
            raise WorkflowMisuse(
                f"{name!r} cannot name a join set", hint="use letters, digits, - and _"
            )
        self.name = self._machine.claim_set_name(name)
        self._arrived: deque[Promise] = deque()
        self._waiting: deque[Promise] = deque()
        self._members: dict[int, Promise] = {}
        self._state = "new"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise WorkflowMisuse(f"join set {self.name!r} was entered twice")
        self._state = "open"
        return self

    def submit(
        self,
        function: Callable[P, Call[R]] | Activity[P, R] | Workflow[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str:
        """
        Start a call, and return its id.

        Raises:
            WorkflowMisuse: The set is not open.
        """
        call = function(*args, **kwargs)
        self._check_open("submit")
        promise = Promise(self._arrive)
        n = self._machine.issue(call, into=self.name, promise=promise)
        self._members[n] = promise
        return self._machine.call_id(n)

    def submit_delay(self, duration: timedelta | float) -> str:
        """Start a timer (seconds or a timedelta) whose answer is None, and return its id."""
        self._check_open("submit_delay")
        promise = Promise(self._arrive)
        n = self._machine.set_timer(_milliseconds(duration), into=self.name, promise=promise)
        self._members[n] = promise
        return self._machine.call_id(n)

    async def next(self) -> Any:  # noqa: ANN401 - members may be of different types
        """
        Return the next answer, or raise the next error, in the order of arrival.

        Raises:
            WorkflowMisuse: Nothing was submitted that was not answered yet.
        """
        self._check_open("next")
        if not self._arrived:
            if len(self._waiting) >= len(self._members):
                raise WorkflowMisuse(
                    f"join set {self.name!r} has no member left to wait for",
                    hint="'async for' ends by itself when every member has answered",
                )
            turn = Promise()
            self._waiting.append(turn)
            member = await turn
        else:
            member = self._arrived.popleft()
        return await member

    # Not a generator: one that is left in the middle would have to be closed.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - members may be of different types
        if self._arrived or len(self._waiting) < len(self._members):
            return await self.next()
        raise StopAsyncIteration

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "closed"
        for n, promise in reversed(list(self._members.items())):
            if not self._machine.cancel(n):
                await _settled(promise)
        if kind is None:
            for member in self._arrived:
                if member.error is not None:
                    raise member.error

    def _arrive(self, promise: Promise) -> None:
        del self._members[promise.n]
        if self._waiting:
            self._machine.resolve(self._waiting.popleft(), promise)
        else:
            self._arrived.append(promise)

    def _check_open(self, what: str) -> None:
        if self._state != "open":
            raise WorkflowMisuse(
                f"{what}() on the join set {self.name!r}, which is {self._state}",
                hint="use it inside 'async with join_set(…) as name:'",
            )


async def _settled(promise: Promise) -> None:
    with suppress(Exception):  # the member's error is in its own log
        await promise


def _milliseconds(duration: timedelta | float) -> int:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not seconds <= _LONGEST_S:  # not a number, too
        raise WorkflowMisuse(f"{duration} cannot be waited for: it ends after the year 3000")
    return max(0, round(seconds * 1000))


def _machine(what: str) -> Machine:
    return cast("Machine", current_driver(what))
