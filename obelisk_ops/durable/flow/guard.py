"""
What a workflow sees instead of an event loop.

A workflow is driven by hand inside a running loop. Left visible, that loop would let
``asyncio.sleep`` fail obscurely and ``asyncio.timeout`` pass in silence. So during a
step the running loop, and the current task, are objects that answer everything with
one named error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeAlias, cast

from obelisk_ops.errors import WorkflowMisuse

_HINT = (
    "in a workflow use obelisk_ops.sleep for asyncio.sleep, join_set for tasks and "
    "asyncio.gather, now() for clocks; everything else belongs in an activity"
)


def misuse(what: str) -> WorkflowMisuse:
    """Return the error for a foreign awaitable or an asyncio call in a workflow."""
    return WorkflowMisuse(f"{what} cannot be used in a workflow", hint=_HINT)


Hidden: TypeAlias = tuple[asyncio.AbstractEventLoop | None, Any, Any]
Finalizer: TypeAlias = Callable[[AsyncGenerator[Any, Any]], None]


class _Forbidden:
    """Stands where a loop or a task is expected; any use of it is the named error."""

    def __init__(self, report: Callable[[WorkflowMisuse], None]) -> None:
        self.__dict__["report"] = report

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **_options: object) -> NoReturn:
        """Refuse, and close what asyncio wrapped: it would be reported as never awaited."""
        coroutine.close()
        self._refuse("create_task")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") or _is_of_logging(sys._getframe(1)):  # noqa: SLF001
            raise AttributeError(name)
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        error = misuse(f"asyncio (it asked the event loop for {name!r})")
        self.__dict__["report"](error)
        raise error


def _is_of_logging(frame: FrameType) -> bool:
    """Tell whether a log record is being made: since 3.12 it asks for the task's name."""
    return frame.f_globals.get("__name__") == "logging"


class Guard:
    """Hides the loop while a workflow runs."""

    def __init__(self, report: Callable[[WorkflowMisuse], None]) -> None:
        """
        Make a guard.

        Args:
            report: Told of each violation: user code may swallow the error, the
                execution must fail all the same.
        """
        self._loop = cast("Any", _Forbidden(report))
        self._task = cast("Any", _Forbidden(report))
        if sys.version_info < (3, 14):
            # The current task is kept by loop: once entered, it stays for this guard.
            asyncio.tasks._enter_task(self._loop, self._task)  # noqa: SLF001 - no public way

    # enter and leave, not a context manager: this runs at every step of every workflow.

    def enter(self, finalizer: Finalizer) -> Hidden:
        """
        Hide the loop; give what is returned to ``leave``.

        Args:
            finalizer: Given async generators that were left in the middle. The loop
                would go on with their clean-up in a task of its own.
        """
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=finalizer)
        visible = asyncio._get_running_loop()  # noqa: SLF001 - made for loop authors
        asyncio._set_running_loop(self._loop)  # noqa: SLF001
        if sys.version_info >= (3, 14):
            # Since 3.14 the current task is kept by thread: swap it for each step.
            swap = asyncio.tasks._swap_current_task  # noqa: SLF001
            return visible, swap(self._loop, self._task), hooks
        return visible, None, hooks

    def leave(self, hidden: Hidden) -> None:
        """Show the loop again."""
        if sys.version_info >= (3, 14):
            asyncio.tasks._swap_current_task(self._loop, hidden[1])  # noqa: SLF001
        asyncio._set_running_loop(hidden[0])  # noqa: SLF001
        sys.set_asyncgen_hooks(*hidden[2])


def closes(generator: AsyncGenerator[Any, Any]) -> bool:
    """Close an async generator, and return whether it did so without waiting for anything."""
    try:
        generator.aclose().__await__().send(None)
    except StopIteration:
        return True
    except Exception:  # noqa: BLE001 - its clean-up failed, or wanted to call something
        return False
    return False
