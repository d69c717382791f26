"""The coroutines of one workflow, stepped by hand, in an order that a replay repeats."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from obelisk_ops.core.interruptions import Cancelled, Interruption
from obelisk_ops.durable.flow.promise import Promise

Code = Coroutine[Any, Any, Any]


class Task:
    """
    One coroutine.

    Attributes:
        code: What is stepped.
        end: Answered when it ends.
        waits_for: What it waits for, once it was stepped.
        errors: Raised in it one after the other, where it next waits.
        shields: While not 0, they are not.
    """

    __slots__ = ("code", "end", "errors", "shields", "waits_for")

    def __init__(self, code: Code, end: Promise) -> None:
        self.code = code
        self.end = end
        self.waits_for: Promise | None = None
        self.errors: list[Interruption] = []
        self.shields = 0
        end.task = self


class Tasks:
    """
    Which are ready, and the one that runs.

    Attributes:
        alive: Those that have not ended.
        running: The one whose code is stepped now.
    """

    def __init__(
        self,
        foreign: Callable[[object], BaseException],
        ended: Callable[[Task, Any, BaseException | None], None],
    ) -> None:
        """
        Begin with none.

        Args:
            foreign: Returns what to raise for an awaitable that is no promise.
            ended: Told of the end of a task, by value or by error.
        """
        self._foreign = foreign
        self._ended = ended
        self._ready: deque[Task] = deque()
        self.alive: dict[Task, None] = {}
        self.running: Task | None = None

    @property
    def current(self) -> Task:
        """The one that runs now."""
        assert self.running is not None
        return self.running

    @property
    def is_running(self) -> bool:
        """Whether code runs because it was stepped, and not because it is dropped."""
        return self.running is not None

    def spawn(self, code: Code, end: Promise) -> Task:
        """Make a task; it is stepped when those that are ready have been."""
        task = Task(code, end)
        self.alive[task] = None
        self._ready.append(task)
        return task

    def run(self) -> None:
        """Step until nothing is ready."""
        while self._ready:
            self._step(self._ready.popleft())

    def release(self, promise: Promise) -> None:
        """Make ready who waits for a promise that was answered."""
        promise.done = True
        for task in promise.waiters:
            task.waits_for = None
            self._ready.append(task)
        promise.waiters.clear()
        if promise.on_done is not None:
            promise.on_done(promise)

    def interrupt(self, task: Task, error: Interruption) -> None:
        """Raise *error* where a task waits; when it is shielded, once it no longer is."""
        if task not in self.alive:
            return
        if isinstance(error, Cancelled):
            task.errors.insert(0, error)  # it leaves the blocks whose time is over, too
        else:
            task.errors.append(error)
        if task.waits_for is not None and not task.shields:
            task.waits_for.waiters.remove(task)
            task.waits_for = None
            self._ready.append(task)

    def withdraw(self, task: Task, error: Interruption) -> None:
        """Forget an interruption that was not raised yet."""
        if error in task.errors:
            task.errors.remove(error)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let the current task finish what it has begun; then it is interrupted."""
        task = self.current
        task.shields += 1
        try:
            yield
        finally:
            task.shields -= 1
        if task.errors and not task.shields:
            raise task.errors.pop(0)

    def close(self) -> None:
        """Drop all code."""
        self._ready.clear()
        alive, self.alive = list(self.alive), {}
        for task in reversed(alive):
            if task is self.running:
                continue  # it unwinds by itself
            task.waits_for = task.end.task = None  # they know it, too: only a collector lets go
            try:
                task.code.close()
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001, S112 - clean-up, which cannot run here
                continue

    def _step(self, task: Task) -> None:
        outer, self.running = self.running, task
        try:
            error = task.errors.pop(0) if task.errors and not task.shields else None
            wanted = task.code.send(None) if error is None else task.code.throw(error)
            while type(wanted) is not Promise:
                wanted = task.code.throw(self._foreign(wanted))
        except StopIteration as done:
            self.alive.pop(task, None)
            self._ended(task, done.value, None)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # noqa: BLE001 - the outcome
            self.alive.pop(task, None)
            self._ended(task, None, failure)
        else:
            wanted.waiters.append(task)
            task.waits_for = wanted
        finally:
            self.running = outer
