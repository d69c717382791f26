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

# In the message: what ends an execution is recorded without its hint.
_INSTEAD = (
    "use obelisk_ops.sleep for asyncio.sleep, timeout for asyncio.timeout and wait_for, "
    "gather, first or join_set for tasks, now() for clocks"
)
_HINT = "everything else belongs in an activity"


def misuse(what: str) -> WorkflowMisuse:
    """Return the error for a foreign awaitable or an asyncio call in a workflow."""
    return WorkflowMisuse(f"{what} cannot be used in a workflow: {_INSTEAD}", hint=_HINT)


# Looked up once: this runs at every step of every workflow.
_get_loop = asyncio._get_running_loop  # noqa: SLF001 - made for loop authors
_set_loop = asyncio._set_running_loop  # noqa: SLF001
_get_hooks, _set_hooks = sys.get_asyncgen_hooks, sys.set_asyncgen_hooks
#: since 3.14 the current task is kept by thread, before that by loop
_swap_task = (
    getattr(asyncio.tasks, "_swap_current_task", None) if sys.version_info >= (3, 14) else None
)

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


class Nothing:
    """What workflow code finds in place of the loop and of the current task; one for all."""

    def __init__(self, report: Callable[[WorkflowMisuse], None]) -> None:
        """
        Make it.

        Args:
            report: Told of each use: code may swallow the error, the execution must fail
                all the same.
        """
        self.loop = cast("Any", _Forbidden(report))
        self.task = cast("Any", _Forbidden(report))
        if _swap_task is None:  # once entered, it stays for this loop
            asyncio.tasks._enter_task(self.loop, self.task)  # noqa: SLF001 - no public way


def _is_of_logging(frame: FrameType) -> bool:
    """Tell whether a log record is being made: since 3.12 it asks for the task's name."""
    return frame.f_globals.get("__name__") == "logging"


class Guard:
    """Hides the loop while workflow code runs; there is one for each thread that drives it."""

    def __init__(self, nothing: Nothing) -> None:
        self._nothing = nothing
        self._hidden: Hidden | None = None

    def run(self, call: Callable[[], None], finalizer: Finalizer) -> None:
        """
        Make *call*, which steps workflow code, with the loop hidden.

        Args:
            call: What to do.
            finalizer: Given async generators that were left in the middle. The loop
                would go on with their clean-up in a task of its own.
        """
        if self._hidden is not None:  # for several calls
            _set_hooks(None, finalizer)
            call()
            return
        self.lower()
        try:
            _set_hooks(None, finalizer)
            call()
        finally:
            self.lift()

    # Not a context manager, which would cost more than what it does.

    def lower(self) -> None:
        """Hide the loop until ``lift``: each change of it costs a system call or two."""
        nothing, visible, task = self._nothing, _get_loop(), None
        _set_loop(nothing.loop)
        if _swap_task is not None:
            task = _swap_task(nothing.loop, nothing.task)
        self._hidden = (visible, task, _get_hooks())

    def lift(self) -> None:
        """Show the loop again."""
        hidden, self._hidden = self._hidden, None
        assert hidden is not None
        if _swap_task is not None:
            _swap_task(self._nothing.loop, hidden[1])
        _set_loop(hidden[0])
        _set_hooks(*hidden[2])


def closes(generator: AsyncGenerator[Any, Any]) -> bool:
    """Close an async generator, and return whether it did so without waiting for anything."""
    try:
        generator.aclose().__await__().send(None)
    except StopIteration:
        return True
    except Exception:  # noqa: BLE001 - its clean-up failed, or wanted to call something
        return False
    return False
