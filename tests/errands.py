"""Code that blocks, on a clock that jumps: it never overtakes what else is going on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from obelisk_ops.errors import OpsError

T = TypeVar("T")

_here = threading.local()


class Killed(BaseException):
    """The process that did the errand is dead: nothing of it is done any more."""


class Errand:
    """
    One piece of work in a thread of its own, which runs only while the loop stands still.

    Whatever it waits for is awaited on the loop in its place: each time is a moment at which
    others go on, and at which it can be killed.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[Coroutine[Any, Any, Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._is_killed = False
        self._end: tuple[Any, BaseException | None] = (None, None)

    async def run(self, work: Callable[[], T]) -> T:
        """Do *work*; to cancel this is to kill it: no ``finally`` of it reaches anybody."""
        thread = threading.Thread(target=self._work, args=(work,))
        thread.start()
        while (asked := self._asked.get()) is not None:
            try:
                self._answers.put((await asked, None))
            except OpsError as error:
                self._answers.put((None, error))
            except asyncio.CancelledError:
                self._is_killed = True
                self._answers.put((None, Killed()))
                assert self._asked.get() is None
                thread.join()
                raise
        thread.join()
        found: T = _opened(self._end)
        return found

    def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Return what something on the loop returns; for the work itself."""
        if self._is_killed:
            what.close()
            raise Killed
        self._asked.put(what)
        found: T = _opened(self._answers.get())
        return found

    def _work(self, work: Callable[[], object]) -> None:
        _here.errand = self
        try:
            self._end = (work(), None)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._end = (None, error)
        self._asked.put(None)


def _opened(end: tuple[T, BaseException | None]) -> T:
    found, failure = end
    if failure is not None:
        raise failure
    return found


def wait(what: Coroutine[Any, Any, T]) -> T:
    """Await something in the errand of this thread."""
    errand: Errand = _here.errand
    return errand.wait(what)


class Background:
    """Stands in for supervise.background.Background: there is one loop, and one clock."""

    def __enter__(self) -> Self:
        self._works: list[asyncio.Task[Any]] = []
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for work in self._works:
            work.cancel()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return wait(work)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        async def begin() -> asyncio.Task[Any]:
            return asyncio.ensure_future(work)

        begun = wait(begin())
        self._works.append(begun)
        return begun
