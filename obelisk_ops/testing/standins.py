"""Something else in place of an activity's code. The call is recorded as ever."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.errors import WorkflowMisuse


class StandIn:
    """
    What runs in place of an activity, and what it was called with.

    Attributes:
        calls: Positional and keyword arguments of every attempt, as the activity's own
            code would have been given them.
    """

    def __init__(self, activity: Activity[..., Any], fake: Callable[..., Any]) -> None:
        """
        Prepare it; ``enter`` puts it in place.

        Raises:
            WorkflowMisuse: What it is to replace is no activity.
        """
        if not isinstance(activity, Activity):
            raise WorkflowMisuse(
                f"{activity!r} is no activity",
                hint="only activities are replaced; what a workflow does is what is tested",
            )
        self.activity = activity
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self._fake = fake
        self._replaced: list[tuple[Activity[..., Any], Callable[..., Any]]] = []

    @property
    def arguments(self) -> list[Any]:
        """Of each attempt the only argument, or a tuple of all."""
        given = [(*args, *kwargs.values()) for args, kwargs in self.calls]
        return [one[0] if len(one) == 1 else one for one in given]

    def enter(self) -> None:
        """Put it in place, in copies with other options too."""
        self.activity.codec  # noqa: B018 - made from the real signature, before it is gone
        function = self._run_async if self.activity.is_async else self._run_thread
        for found in list(_same(self.activity)):
            found.codec  # noqa: B018
            self._replaced.append((found, found.function))
            found.function = function

    def leave(self) -> None:
        """Take it away again. Twice is allowed."""
        while self._replaced:
            found, function = self._replaced.pop()
            found.function = function

    async def _run_async(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self.calls.append((args, kwargs))
        value = self._fake(*args, **kwargs)
        return await value if inspect.isawaitable(value) else value

    def _run_thread(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self.calls.append((args, kwargs))
        value = self._fake(*args, **kwargs)
        return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:  # noqa: ANN401
    return await value


def _same(activity: Activity[..., Any]) -> Iterator[Activity[..., Any]]:
    """Find the activity, and what a module made of it: ``patient = charge.options(…)``."""
    yield activity
    seen = {id(activity)}
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if type(value) is not Activity or id(value) in seen:
                continue
            if value.function is activity.function:
                seen.add(id(value))
                yield value
