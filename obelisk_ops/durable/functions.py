"""
``@workflow`` and ``@activity``: ordinary typed functions, called in an ordinary way.

A call is lazy: it is a value until it is awaited or submitted to a join set.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, update_wrapper
from threading import Lock
from typing import Any, Generic, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from obelisk_ops.core import names
from obelisk_ops.core.retry import DEFAULT, Retry, as_duration
from obelisk_ops.core.values import Codec
from obelisk_ops.durable.digests import digest
from obelisk_ops.durable.promise import Promise
from obelisk_ops.errors import WorkflowMisuse

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Driver(Protocol):
    """What a call needs of the machine that drives the workflow around it."""

    def note_call(self, call: object, name: str) -> None:
        """Remember that a call was made; it must be awaited or submitted."""
        ...

    def issue(self, call: Call[Any], *, into: str = "", promise: Promise) -> int:
        """Ask for a call, and return its number."""
        ...


#: the machine that drives the workflow code running now
driver: ContextVar[Driver | None] = ContextVar("obelisk_ops_driver", default=None)


def current_driver(what: str) -> Driver:
    """
    Return the machine that drives this workflow.

    Raises:
        WorkflowMisuse: No workflow is being driven here.
    """
    found = driver.get()
    if found is None:
        raise WorkflowMisuse(f"{what} can only be used in a workflow")
    return found


class Call(Generic[R_co]):
    """One call of a workflow or activity, not made yet. Await it, or submit it."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(
        self,
        function: Activity[Any, Any] | Workflow[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        current = driver.get()
        if current is None:
            raise WorkflowMisuse(
                f"{function.name} was called outside a workflow", hint=function.how_to_call
            )
        current.note_call(self, function.name)

    def __await__(self) -> Generator[Promise, None, R_co]:
        promise = Promise()
        current_driver(self.function.name).issue(self, promise=promise)
        value: R_co = yield from promise.__await__()
        return value

    def __repr__(self) -> str:
        return f"<call of {self.function.name}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityOptions:
    """How attempts of an activity are made."""

    retry: Retry = DEFAULT
    timeout: timedelta | None = None


#: who makes a codec; see Codec for what happens else
_one_at_a_time = Lock()


class _Function(Generic[P, R]):
    """What workflows and activities have in common: a name, a signature, a codec."""

    how_to_call = ""

    def __init__(self, function: Callable[..., Any], name: str | None) -> None:
        self.function = function
        self.name = name or names.known_as(function)
        self.is_async = inspect.iscoroutinefunction(function)
        self._codec: Codec | None = None
        update_wrapper(self, function)

    @property
    def codec(self) -> Codec:
        """
        How arguments and result are written as JSON.

        Raises:
            WorkflowMisuse: An annotation cannot be resolved, or not be read from JSON.
        """
        found = self._codec
        if found is None:
            with _one_at_a_time:
                found = self._codec = Codec(self.function, self.name)
        return found

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Return the call, to be awaited or submitted."""
        return Call(self, args, kwargs)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


class Activity(_Function[P, R]):
    """A function that may do anything; it is retried, and its result is recorded once."""

    def __init__(
        self, function: Callable[..., Any], name: str | None, options: ActivityOptions
    ) -> None:
        super().__init__(function, name)
        self.activity_options = options

    @property
    def how_to_call(self) -> str:  # type: ignore[override]
        """The hint for a call in the wrong place."""
        return (
            "await it in a workflow; to run the plain function without durability use "
            f"{self.name.rpartition('.')[2]}.function(...)"
        )

    def options(
        self, *, retry: Retry | None = None, timeout: timedelta | float | None = None
    ) -> Activity[P, R]:
        """Return the same activity with other options, for one call: ``f.options(…)(x)``."""
        old = self.activity_options
        options = ActivityOptions(
            retry=retry or old.retry, timeout=as_duration(timeout) or old.timeout
        )
        other: Activity[P, R] = Activity(self.function, self.name, options)
        other._codec = self.codec
        return other


class Workflow(_Function[P, R]):
    """A deterministic ``async def``; its progress is its log."""

    how_to_call = (
        "run it with obelisk_ops.run(…, db=PATH), or 'await engine.submit(…)' on an Engine"
    )

    @cached_property
    def digest(self) -> str:
        """Which code it is; see the module ``digests``."""
        return digest(self.function)


@overload
def workflow(function: Callable[P, Awaitable[R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *, name: str | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Workflow[P, R]]: ...
def workflow(function: Any = None, /, *, name: str | None = None) -> Any:
    """
    Make an ``async def`` a workflow.

    Args:
        function: Its code: deterministic, no input or output of its own.
        name: What it is known as in logs; ``module.qualname`` by default.

    Raises:
        WorkflowMisuse: It is no ``async def``.
    """

    def wrap(function: Callable[P, Awaitable[R]]) -> Workflow[P, R]:
        made: Workflow[P, R] = Workflow(function, name)
        if not made.is_async:
            raise WorkflowMisuse(f"workflow {made.name} must be an 'async def'")
        return made

    return wrap if function is None else wrap(function)


class _ActivityDecorator:
    """``@activity``, and what an activity may ask about itself while it runs."""

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
    ) -> _ActivityMaker: ...
    def __call__(  # type: ignore[misc] # mypy counts the positional-only default as required
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
    ) -> Any:
        """
        Make a ``def`` or ``async def`` an activity.

        Args:
            function: Its code; it may do anything.
            name: What it is known as in logs; ``module.qualname`` by default.
            retry: When a failed attempt is tried again; five attempts within about
                two seconds by default.
            timeout: How long one attempt may take (a number counts seconds); no limit
                by default.
        """
        options = ActivityOptions(retry=retry or DEFAULT, timeout=as_duration(timeout))

        def wrap(function: Callable[..., Any]) -> Activity[Any, Any]:
            return Activity(function, name, options)

        return wrap if function is None else wrap(function)

    def idempotency_key(self) -> str:
        """
        Return a text that is the same in every attempt of this call, and in no other call.

        Raises:
            WorkflowMisuse: No activity is running here.
        """
        return current_attempt().call_id

    def attempt(self) -> int:
        """
        Return the number of this attempt, from 1.

        Raises:
            WorkflowMisuse: No activity is running here.
        """
        return current_attempt().number


class _ActivityMaker(Protocol):
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...


activity = _ActivityDecorator()


class AttemptInfo(NamedTuple):
    """What a running attempt knows of itself."""

    call_id: str
    number: int


attempt_info: ContextVar[AttemptInfo | None] = ContextVar("obelisk_ops_attempt", default=None)


def current_attempt() -> AttemptInfo:
    """
    Return what the running attempt knows of itself.

    Raises:
        WorkflowMisuse: No activity is running here.
    """
    found = attempt_info.get()
    if found is None:
        raise WorkflowMisuse("this can only be asked while an activity runs")
    return found
