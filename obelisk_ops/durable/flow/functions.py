"""
``@workflow`` and ``@activity``: ordinary typed functions, called in an ordinary way.

A call is lazy: it is a value until it is awaited or submitted to a join set.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property, update_wrapper
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from msgspec import Struct

from obelisk_ops.core import names
from obelisk_ops.core.barrier import Durability, read_durability
from obelisk_ops.core.retry import Retry, as_duration
from obelisk_ops.core.values import Codec
from obelisk_ops.durable.flow.digests import digest
from obelisk_ops.durable.flow.options import DEFAULT_QUEUE, ActivityOptions, Given, Isolation
from obelisk_ops.durable.flow.promise import Promise
from obelisk_ops.errors import WorkflowMisuse

if TYPE_CHECKING:
    from obelisk_ops.durable.flow.record import Record

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Driver(Protocol):
    """
    What a call needs of the machine that drives the workflow around it.

    Attributes:
        record: What the log says comes next.
    """

    record: Record

    def note_call(self, call: object, name: str) -> None:
        """Remember that a call was made; it must be awaited or submitted."""
        ...

    def issue(self, call: Call[Any], *, into: str = "", promise: Promise) -> int:
        """Ask for a call, and return its number."""
        ...

    def told_again(self, call: Call[Any]) -> Generator[Promise, None, Any]:
        """Wait for the answer of a call while there is history."""
        ...

    def wait_for(self, promise: Promise) -> Generator[Promise, None, Any]:
        """Wait for an answer; give up the call when that is interrupted."""
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


class Call(Struct, Generic[R_co], eq=False):
    """One call of a workflow or activity, not made yet. Await it, or submit it."""

    function: Activity[Any, Any] | Stub[Any, Any] | Workflow[Any, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __await__(self) -> Generator[Promise, None, R_co]:
        # No generator itself: one within another would cost as much as asking does.
        machine = driver.get() or current_driver(self.function.name)
        if machine.record.has_history:
            return machine.told_again(self)
        promise = Promise()
        machine.issue(self, promise=promise)
        return machine.wait_for(promise)

    def __repr__(self) -> str:
        return f"<call of {self.function.name}>"


#: who teaches msgspec a type; see Codec for what happens else
one_at_a_time = Lock()


class _Function(Generic[P, R]):
    """What workflows and activities have in common: a name, a signature, a codec."""

    how_to_call = ""

    def __init__(self, function: Callable[..., Any], name: str | None) -> None:
        self.function = function
        self.name = name or names.known_as(function)
        self.is_async = inspect.iscoroutinefunction(function)
        update_wrapper(self, function)

    @cached_property
    def codec(self) -> Codec:
        """
        How arguments and result are written as JSON.

        Raises:
            WorkflowMisuse: An annotation cannot be resolved, or not be read from JSON.
        """
        with one_at_a_time:
            return Codec(self.function, self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """
        Return the call, to be awaited or submitted.

        Raises:
            WorkflowMisuse: No workflow is being driven here.
        """
        current = driver.get()
        if current is None:
            raise WorkflowMisuse(
                f"{self.name} was called outside a workflow", hint=self.how_to_call
            )
        call: Call[R] = Call(self, args, kwargs)  # type: ignore[arg-type]
        current.note_call(call, self.name)
        return call

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


class Activity(_Function[P, R]):
    """
    A function that may do anything; it is retried, and its result is recorded once.

    Attributes:
        activity_options: How its attempts are made.
        queue: Which queue they wait in.
        priority: Who goes first there.
        is_limited: Whether an attempt may take, or be silent, only so long.
        at_most_once: Whether it is never run again where its outcome is not known.
        queue_on_record: The same for the log, where the default is left out.
        replicated: Whether what is known of its attempts waits for the bucket; None where
            its workflow says.
    """

    def __init__(
        self, function: Callable[..., Any], name: str | None, options: ActivityOptions,
        given: Given | None = None,
    ) -> None:  # fmt: skip
        """
        Make an activity with *options*, changed by those that are *given*.

        Raises:
            InvalidInput: An option makes no sense.
        """
        super().__init__(function, name)
        is_local = "<" in getattr(function, "__qualname__", "")  # <locals>, <lambda>
        changed = options.changed(
            self.name, given or {}, is_async=self.is_async, is_local=is_local
        )
        self.activity_options = changed
        self.queue, self.priority = changed.queue, changed.priority
        limits = changed.timeout, changed.heartbeat_timeout
        self.is_limited = limits != (None, None)
        self.at_most_once = changed.at_most_once
        self.replicated = read_durability(changed.durability)
        self.queue_on_record = "" if self.queue == DEFAULT_QUEUE else self.queue

    @property
    def how_to_call(self) -> str:  # type: ignore[override]
        """The hint for a call in the wrong place."""
        return (
            "await it in a workflow; to run the plain function without durability use "
            f"{self.name.rpartition('.')[2]}.function(...)"
        )

    def options(  # noqa: PLR0913 - keywords, as in @activity
        self,
        *,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        heartbeat_timeout: timedelta | float | None = None,
        queue: str | None = None,
        priority: int | None = None,
        at_most_once: bool | None = None,
        overlap: bool | None = None,
        isolation: Isolation | None = None,
        durability: Durability | None = None,
    ) -> Activity[P, R]:
        """
        Return the same activity with other options, for one call: ``f.options(…)(x)``.

        What is left out, or None, stays as it was.

        Raises:
            InvalidInput: An option makes no sense, or two contradict each other.
        """
        given = Given(
            retry=retry, timeout=timeout, heartbeat_timeout=heartbeat_timeout, queue=queue,
            priority=priority, at_most_once=at_most_once, overlap=overlap, isolation=isolation,
            durability=durability,
        )  # fmt: skip
        other: Activity[P, R] = Activity(self.function, self.name, self.activity_options, given)
        other.codec = self.codec
        return other


class Stub(_Function[P, R]):
    """A call whose result comes from outside; only its signature counts."""

    how_to_call = "await it in a workflow"


class Workflow(_Function[P, R]):
    """
    A deterministic ``async def``; its progress is its log.

    Attributes:
        timeout_ms: How long an execution may take; 0 for no limit.
        cancellable: Whether it may be cancelled; None: by a request, not by its parent.
        replicated: Whether what is said of its executions waits for the bucket; None where
            the engine says.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None,
        *,
        timeout: timedelta | float | None = None,
        cancellable: bool | None = None,
        durability: Durability | None = None,
    ) -> None:
        super().__init__(function, name)
        limit = as_duration(timeout)
        self.timeout_ms = 0 if limit is None else max(1, round(limit.total_seconds() * 1000))
        self.cancellable = cancellable
        self.replicated = read_durability(durability)

    how_to_call = (
        "run it with obelisk_ops.run(…, db=PATH), or 'await engine.submit(…)' on an Engine"
    )

    @property
    def module(self) -> str:
        """Where its code is from."""
        return str(getattr(self.function, "__module__", None) or "")

    @cached_property
    def digest(self) -> str:
        """Which code it is; see the module ``digests``."""
        return digest(self.function)


@overload
def workflow(function: Callable[P, Awaitable[R]], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    timeout: timedelta | float | None = None,
    cancellable: bool | None = None,
    durability: Durability | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Workflow[P, R]]: ...
def workflow(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    timeout: timedelta | float | None = None,
    cancellable: bool | None = None,
    durability: Durability | None = None,
) -> Any:
    """
    Make an ``async def`` a workflow.

    Args:
        function: Its code: deterministic, no input or output of its own.
        name: What it is known as in logs; ``module.qualname`` by default.
        timeout: How long an execution may take (a number counts seconds); then TimedOut
            is raised where it waits. No limit by default.
        cancellable: False: a request to cancel is refused. True: a parent that closes a
            join set, or is cancelled, cancels it too; otherwise the parent waits for it.
        durability: ``replicated``: nothing of it is seen outside (an activity starts, a
            caller is answered) before the bucket holds it; ``local``: before this disk
            does. By default what the engine says.

    Raises:
        WorkflowMisuse: It is no ``async def``.
        ConfigError: There is no such durability.
    """

    def wrap(function: Callable[P, Awaitable[R]]) -> Workflow[P, R]:
        made: Workflow[P, R] = Workflow(
            function, name, timeout=timeout, cancellable=cancellable, durability=durability
        )
        if not made.is_async:
            raise WorkflowMisuse(f"workflow {made.name} must be an 'async def'")
        return made

    return wrap if function is None else wrap(function)


@overload
def stub(function: Callable[P, Awaitable[R]], /) -> Stub[P, R]: ...
@overload
def stub(function: Callable[P, R], /) -> Stub[P, R]: ...
@overload
def stub(*, name: str | None = None) -> Callable[[Callable[P, R]], Stub[P, R]]: ...
def stub(function: Any = None, /, *, name: str | None = None) -> Any:
    """
    Make a ``def`` a stub: a call whose result comes from outside, by the id of the call.

    Its code is never run; parameters and the type of the result count. The result is
    given with ``engine.stub(call_id, value)`` or ``obelisk-ops execution stub``.

    Args:
        function: The signature.
        name: What it is known as in logs; ``module.qualname`` by default.
    """

    def wrap(function: Callable[..., Any]) -> Stub[Any, Any]:
        return Stub(function, name)

    return wrap if function is None else wrap(function)
