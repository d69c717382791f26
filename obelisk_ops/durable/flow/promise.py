"""The one thing a workflow can wait for, and the one value it ever yields to its driver."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from obelisk_ops.durable.flow.tasks import Task

#: an answer that is not there; None may be one
UNKNOWN: Final = object()


class Promise(Struct, eq=False):
    """
    A result that will be recorded. Awaited, it returns the value or raises the error.

    Attributes:
        on_done: Told of it once it is answered.
        n: The number of the call that it answers, if it is one.
        task: Whose end it is, if it is one's.
        done: Whether it is answered.
        value: The answer.
        error: Or this.
        waiters: Who goes on then.
    """

    on_done: Callable[[Promise], None] | None = None
    n: int = 0
    task: Task | None = None
    done: bool = False
    value: Any = None
    error: BaseException | None = None
    waiters: list[Task] = []

    def __await__(self) -> Generator[Promise, None, Any]:
        if not self.done:
            yield self
        if self.error is not None:
            raise self.error
        return self.value
