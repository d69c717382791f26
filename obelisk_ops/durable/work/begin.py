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
    """See ``begin``. The task comes first, and finds at its first step how far its code is."""
    waits_for: list[Any] = []
    rest = _go_on(code, waits_for)
    rest.send(None)
    # Made as any task is: half of one ends the process when asked for its coroutine.
    task = asyncio.Task(rest, loop=loop, name=name, context=context)
    outer = _current.get(loop)
    if outer is not None:
        _leave(loop, outer)
    _enter(loop, task)
    try:
        waits_for.append(context.run(code.send, None))
    except (StopIteration, asyncio.CancelledError):
        return None
    finally:
        _leave(loop, task)
        if outer is not None:
            _enter(loop, outer)
    return task


async def _go_on(code: Code, waits_for: list[Any]) -> None:
    """Go on with code that waits; begun itself: what is cancelled before would never run."""
    await _rest(code, waits_for)


@coroutine
def _rest(code: Code, waits_for: list[Any]) -> Generator[Any, None, None]:
    early: BaseException | None = None
    try:
        yield  # until the task's first step
    except asyncio.CancelledError as error:
        if not waits_for:
            raise
        # As in any task: the code is told by what it waits for, if that can be cancelled.
        told = waits_for[0] is not None and waits_for[0].cancel(*error.args)
        early = None if told else error
    if not waits_for:
        return  # it is over
    wanted = waits_for.pop()
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
