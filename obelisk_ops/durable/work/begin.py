"""
Begins the code of a task at once, not when the loop comes round to it.

Code that waits for nothing is over then, without a round of the loop. From its first line
on it runs in a task of its own: ``asyncio.current_task()``, timeouts and task groups find
the same one before and after it first waits.

From Python 3.12 on asyncio does so by itself. Before that it makes a task and a round of the
loop for each, also where the code never waits: a tenth of a step. So a task that its code has
left as it was goes to the next one. It is as good as new: nobody knows it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from gc import get_referents
from sys import getrefcount
from types import coroutine
from typing import Any
from weakref import getweakrefcount, ref

Code = Coroutine[Any, Any, None]
Task = asyncio.Task[None]

_OVER: Any = object()

# Looked up once: this is on the way of every step.
_current: dict[asyncio.AbstractEventLoop, Any] = getattr(asyncio.tasks, "_current_tasks", {})
_all = getattr(asyncio.tasks, "_all_tasks", None)
_listed: set[Any] = getattr(_all, "data", set())


class Eager:
    """Begins code on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def begin(self, code: Code, name: str, context: Context) -> Task | None:
        """
        Run code until it waits for something.

        Args:
            code: It must raise nothing but what ends the loop, or CancelledError.
            name: Of its task.
            context: What it runs in.

        Returns:
            The task that goes on with it; None when it is over.
        """
        options: dict[str, Any] = {"context": context, "eager_start": True}
        task = asyncio.Task(code, loop=self._loop, name=name, **options)
        return None if task.done() else task

    def close(self) -> None:
        """Begin nothing any more."""


class ByHand:
    """The same before Python 3.12."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spare: _Spare | None = None

    def begin(self, code: Code, name: str, context: Context) -> Task | None:
        """See ``Eager.begin``."""
        loop, spare = self._loop, self._spare or _Spare(self._loop)
        self._spare = None
        task = spare.task
        task.set_name(name)
        before = _traces(task)
        outer = _current.get(loop)
        _current[loop] = task
        _listed.add(spare.mark)
        try:
            wanted = context.run(code.send, None)
        except (StopIteration, asyncio.CancelledError):
            wanted = _OVER
        except BaseException:
            spare.end()
            raise
        finally:
            if outer is None:
                del _current[loop]
            else:
                _current[loop] = outer
        if wanted is not _OVER:
            spare.go_on(code, context, wanted)
            return task
        if _traces(task) == before and spare.waits:
            _listed.discard(spare.mark)
            self._spare = spare
        else:
            spare.end()
        return None

    def close(self) -> None:
        """See ``Eager.close``."""
        if self._spare is not None:
            self._spare.end()
            self._spare = None


class _Spare:
    """
    A task that waits for code which needs one; before that it is there for nobody else.

    Attributes:
        task: It is as any: half of one ends the process when asked for its coroutine.
        mark: What stands for it among all tasks.
    """

    __slots__ = ("_rest", "_wanted", "mark", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wanted: asyncio.Future[None] = loop.create_future()
        self._rest: list[_Rest] = []
        code = _serve(self._wanted, self._rest)
        code.send(None)  # begun: what is cancelled before would never run
        self.task: Task = asyncio.Task(code, loop=loop, context=Context())
        _warn(self.task, is_wanted=False)
        self.mark = ref(self.task, getattr(_all, "_remove", None))
        _listed.discard(self.mark)  # equal to the one that asyncio has made

    @property
    def waits(self) -> bool:
        """Whether it was not cancelled."""
        return not self._wanted.done()

    def go_on(self, code: Code, context: Context, wanted: object) -> None:
        """Go on with code that waits for something, at the next step."""
        self._rest.append((code, context, wanted))
        _warn(self.task, is_wanted=True)
        self.end()

    def end(self) -> None:
        """End with the code, or without any."""
        if not self._wanted.done():
            self._wanted.set_result(None)


_Rest = tuple[Code, Context, Any]


def _traces(task: Task) -> tuple[int, int, int]:
    """Return who knows a task, and what it knows: a callback, an attribute, its cancelling."""
    return getrefcount(task), getweakrefcount(task), len(get_referents(task))


def _warn(task: Any, *, is_wanted: bool) -> None:  # noqa: ANN401
    """Let asyncio warn, or not, if the loop is closed and a task is still there."""
    task._log_destroy_pending = is_wanted  # noqa: SLF001 - asyncio has no other way either


async def _serve(wanted: asyncio.Future[None], rest: list[_Rest]) -> None:
    """Go on with code that waits, once there is any."""
    told: list[BaseException] = []
    try:
        await _first_step()
        await wanted
    except asyncio.CancelledError as error:
        if not rest:
            raise
        told.append(error)
    if rest:
        await _go_on(rest.pop(), told)


@coroutine
def _first_step() -> Generator[None, None, None]:
    yield


@coroutine
def _go_on(rest: _Rest, told: list[BaseException]) -> Generator[Any, None, None]:
    code, context, wanted = rest
    if told and wanted is not None and wanted.cancel(*told[0].args):
        told.clear()  # as in any task: the code is told by what it waits for
    with suppress(StopIteration):
        while True:
            if not told:
                try:
                    yield wanted
                except BaseException as error:  # noqa: BLE001 - it is the code's
                    told.append(error)
            # Not there: what the code raises next has nothing to do with what it was told.
            if told:
                wanted = context.run(code.throw, told.pop())
            else:
                wanted = context.run(code.send, None)


if sys.version_info >= (3, 12):
    Beginning = Eager
else:
    Beginning = ByHand
