"""
Begins the code of a task at once, not when the loop comes round to it.

Code that waits for nothing is over then, without a round of the loop. From its first line
on it runs in a task of its own: ``asyncio.current_task()``, timeouts and task groups find
the same one before and after it first waits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from types import coroutine
from typing import Any

Code = Coroutine[Any, Any, None]
Task = asyncio.Task[None]

# Looked up once: this is on the way of every step.
_new = asyncio.Task.__new__
_current: dict[asyncio.AbstractEventLoop, Any] = getattr(asyncio.tasks, "_current_tasks", {})
_enter, _leave = asyncio.tasks._enter_task, asyncio.tasks._leave_task  # noqa: SLF001


def begin_eagerly(
    code: Code, loop: asyncio.AbstractEventLoop, name: str, context: Context
) -> Task | None:
    """See ``begin``. asyncio does so by itself, from 3.12 on."""
    options: dict[str, Any] = {"context": context, "eager_start": True}
    task = asyncio.Task(code, loop=loop, name=name, **options)
    return None if task.done() else task


def begin_by_hand(
    code: Code, loop: asyncio.AbstractEventLoop, name: str, context: Context
) -> Task | None:
    """See ``begin``. The task is made first, and itself begins where its code waits."""
    task: Task = _new(asyncio.Task)
    task.set_name(name)
    outer = _current.get(loop)
    if outer is not None:
        _leave(loop, outer)
    _enter(loop, task)
    try:
        wanted = context.run(code.send, None)
    except (StopIteration, asyncio.CancelledError):
        return None
    finally:
        _leave(loop, task)
        if outer is not None:
            _enter(loop, outer)
    rest = _go_on(code, wanted)
    rest.send(None)
    cancels = task.cancelling()
    task.__init__(rest, loop=loop, name=name, context=context)  # type: ignore[misc]
    for _ in range(cancels):
        task.cancel()
    return task


async def _go_on(code: Code, wanted: Any) -> None:  # noqa: ANN401 - what tasks wait for
    """Go on with code that waits; begun itself: what is cancelled before would never run."""
    await _rest(code, wanted)


@coroutine
def _rest(code: Code, wanted: Any) -> Generator[Any, None, None]:  # noqa: ANN401
    early: BaseException | None = None
    try:
        yield  # until the task begins
    except asyncio.CancelledError as error:
        # As in any task: the code is told by what it waits for, if that can be cancelled.
        early = None if wanted is not None and wanted.cancel() else error
    with suppress(StopIteration):
        if early is not None:
            wanted = code.throw(early)
        while True:
            try:
                yield wanted
            except BaseException as error:  # noqa: BLE001 - it is the code's
                wanted = code.throw(error)
            else:
                break
        yield from code


#: Runs code until it waits for something; returns the task that goes on with it, None when
#: it is over. It must raise nothing but what ends the loop, or CancelledError.
begin = begin_eagerly if sys.version_info >= (3, 12) else begin_by_hand
