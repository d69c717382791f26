"""``@activity``, and what an activity may say and ask while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from obelisk_ops.core import values
from obelisk_ops.core.barrier import Durability
from obelisk_ops.core.retry import Retry
from obelisk_ops.durable.flow.attempt import current_attempt
from obelisk_ops.durable.flow.functions import Activity, one_at_a_time
from obelisk_ops.durable.flow.options import ActivityOptions, Given, Isolation

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _ActivityMaker(Protocol):
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Activity[P, R]: ...


class _ActivityDecorator:
    """``@activity``, and what an activity may say and ask while it runs."""

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
        heartbeat_timeout: timedelta | float | None = None,
        queue: str | None = None,
        priority: int | None = None,
        at_most_once: bool | None = None,
        overlap: bool | None = None,
        isolation: Isolation | None = None,
        durability: Durability | None = None,
    ) -> _ActivityMaker: ...
    def __call__(  # type: ignore[misc] # noqa: PLR0913 - mypy counts the first as required
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        retry: Retry | None = None,
        timeout: timedelta | float | None = None,
        heartbeat_timeout: timedelta | float | None = None,
        queue: str | None = None,
        priority: int | None = None,
        at_most_once: bool | None = None,
        overlap: bool | None = None,
        isolation: Isolation | None = None,
        durability: Durability | None = None,
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
            heartbeat_timeout: How long one may go without ``activity.heartbeat()``
                before it counts as failed.
            queue: Which queue it waits in; ``default`` by default.
            priority: The higher one goes first in its queue; 0 by default.
            at_most_once: An attempt that was cut short is not made again; the workflow
                is told OutcomeUnknown. One attempt, unless ``retry`` is given.
            overlap: A retry does not wait for the thread of an attempt that timed out.
            isolation: ``process`` runs each attempt of a ``def`` in a child process,
                which is killed when it takes too long or is cancelled.
            durability: ``replicated``: an attempt starts, and its outcome counts, once the
                bucket holds that; ``local``: once this disk does. By default what its
                workflow says, and else the engine.

        Raises:
            InvalidInput: An option makes no sense, or two contradict each other.
        """
        given = Given(
            retry=retry, timeout=timeout, heartbeat_timeout=heartbeat_timeout, queue=queue,
            priority=priority, at_most_once=at_most_once, overlap=overlap, isolation=isolation,
            durability=durability,
        )  # fmt: skip

        def wrap(function: Callable[..., Any]) -> Activity[Any, Any]:
            return Activity(function, name, ActivityOptions(), given)

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

    def heartbeat(self, details: object = None) -> None:
        """
        Say that this attempt is alive, and how far it has come.

        The details (anything that can be written as JSON) are kept, about once a second,
        for the next attempt and for readers. Call it as often as you like.

        Raises:
            asyncio.CancelledError: The attempt timed out, or its workflow does not wait
                for it any more: its result would be dropped.
            NotSerialisable: The details cannot be written as JSON.
            WorkflowMisuse: No activity is running here.
        """
        current_attempt().beat(details)

    @overload
    def heartbeat_details(self) -> Any: ...  # noqa: ANN401 - whatever JSON holds
    @overload
    def heartbeat_details(self, type: type[T]) -> T | None: ...
    def heartbeat_details(self, type: Any = Any) -> Any:  # noqa: A002
        """
        Return the details of the last heartbeat of the attempt before; None if there is none.

        After a crash they may be about a second old.

        Args:
            type: What they are read as; plain values by default.

        Raises:
            NotSerialisable: They are something else.
            WorkflowMisuse: No activity is running here.
        """
        text = current_attempt().last_details
        if text is None:
            return None
        with one_at_a_time:
            return values.from_json(text, type, "the details of the last heartbeat")


activity = _ActivityDecorator()
