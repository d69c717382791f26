"""Doing several things at the same time: ``join_set``, ``gather``, ``first``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from obelisk_ops.core.durations import milliseconds
from obelisk_ops.durable.flow.context import machine_of
from obelisk_ops.durable.flow.functions import Activity, Call, Stub, Workflow
from obelisk_ops.durable.flow.group import Group
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.errors import WorkflowMisuse

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")


class join_set:  # noqa: N801 - it is called like a function
    """
    Calls that run at the same time, answered in the order in which they end.

    ``async with join_set("parcels") as parcels:`` — leaving the block closes it: what
    still runs is cancelled (activities, delays, child workflows that say
    ``cancellable=True``), in reverse order; other child workflows are awaited. An error of
    a member that nobody looked at is raised on leaving.
    """

    def __init__(self, name: str | None = None) -> None:
        """
        Make a join set.

        Raises:
            WorkflowMisuse: The name is taken in this execution, or not a plain word.
        """
        self._machine = machine_of("join_set()")
        if name is not None and not name.replace("-", "").replace("_", "").isalnum():
            raise WorkflowMisuse(
                f"{name!r} cannot name a join set", hint="use letters, digits, - and _"
            )
        self.name = self._machine.claim_set_name(name)
        self._group = Group(self._machine, self.name)
        self._state = "new"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise WorkflowMisuse(f"join set {self.name!r} was entered twice")
        self._state = "open"
        return self

    def submit(
        self,
        function: Callable[P, Call[R]] | Activity[P, R] | Workflow[P, R] | Stub[P, R],
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
        return self._machine.call_id(self._group.call(call).n)

    def submit_delay(self, duration: timedelta | float) -> str:
        """Start a timer (seconds or a timedelta) whose answer is None, and return its id."""
        self._check_open("submit_delay")
        return self._machine.call_id(self._group.timer(milliseconds(duration)).n)

    async def next(self) -> Any:  # noqa: ANN401 - members may be of different types
        """
        Return the next answer, or raise the next error, in the order of arrival.

        Raises:
            WorkflowMisuse: Nothing was submitted that was not answered yet.
        """
        self._check_open("next")
        if not self._group.has_more:
            raise WorkflowMisuse(
                f"join set {self.name!r} has no member left to wait for",
                hint="'async for' ends by itself when every member has answered",
            )
        return await (await self._group.next())

    def try_next(self, default: D = None) -> Any | D:  # type: ignore[assignment]  # noqa: ANN401
        """Return the next answer (or raise the next error) if it is there, else *default*."""
        self._check_open("try_next")
        if not self._group.arrived:
            return default
        return _result(self._group.arrived.popleft())

    # Not a generator: one that is left in the middle would have to be closed.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - members may be of different types
        self._check_open("async for")
        if not self._group.has_more:
            raise StopAsyncIteration
        return await self.next()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state = "closed"
        unseen = list(self._group.arrived)
        await self._group.close()
        if kind is None:
            for member in unseen:
                _result(member)

    def _check_open(self, what: str) -> None:
        if self._state != "open":
            raise WorkflowMisuse(
                f"{what}() on the join set {self.name!r}, which is {self._state}",
                hint="use it inside 'async with join_set(…) as name:'",
            )


async def gather(*members: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """
    Do everything at the same time, and return the values in the order of the arguments.

    Args:
        *members: Calls, or plain coroutines of the workflow.
        return_exceptions: Put errors among the values. Without it the first error is
            raised, after all else was closed as leaving a join set closes it.
    """
    group = Group(machine_of("gather()"))
    try:
        promises = group.start_all(members)
        for _ in promises:
            ended = await group.next()
            if ended.error is not None and not _may_return(ended.error, return_exceptions):
                raise ended.error
    finally:
        await group.close()
    return [promise.value if promise.error is None else promise.error for promise in promises]


async def first(*members: Awaitable[Any]) -> tuple[int, Any]:
    """
    Wait for whichever ends first, close the others, and return its place and its value.

    If it ended with an error, that is raised.

    Raises:
        WorkflowMisuse: There is nothing to wait for.
    """
    if not members:
        raise WorkflowMisuse("first() has nothing to wait for", hint="give it calls")
    group = Group(machine_of("first()"))
    try:
        promises = group.start_all(members)
        winner = await group.next()
    finally:
        await group.close()
    return promises.index(winner), _result(winner)


def _may_return(error: BaseException, wanted: bool) -> bool:  # noqa: FBT001
    return wanted and isinstance(error, Exception)


def _result(promise: Promise) -> Any:  # noqa: ANN401 - whatever it answers with
    if promise.error is not None:
        raise promise.error
    return promise.value
