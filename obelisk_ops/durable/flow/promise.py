"""The one thing a workflow can wait for, and the one value it ever yields to its driver."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from obelisk_ops.durable.flow.tasks import Task

#: an answer that is not there; None may be one
UNKNOWN: Final = object()


class Promise:
    """A result that will be recorded. Awaited, it returns the value or raises the error."""

    __slots__ = ("done", "error", "n", "on_done", "task", "value", "waiters")

    def __init__(self, on_done: Callable[[Promise], None] | None = None) -> None:
        self.n = 0  # the number of the call it answers, if it is one
        self.task: Task | None = None  # whose end it is, if it is one's
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.waiters: list[Task] = []
        self.on_done = on_done

    def __await__(self) -> Generator[Promise, None, Any]:
        if not self.done:
            yield self
        if self.error is not None:
            raise self.error
        return self.value
