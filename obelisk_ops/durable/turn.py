"""What happens together: rows that become durable as one, and what may be seen after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from obelisk_ops.core.ports import Write

if TYPE_CHECKING:
    from obelisk_ops.durable.execution import Execution

Effect = tuple[Callable[..., None], tuple[Any, ...]]


class Turn(Struct, eq=False):
    """
    One Write in the making.

    Attributes:
        write: Its rows.
        effects: What happens once it is durable.
        follow: What still belongs to the same Write, done when the code at hand waits.
        last: The same, done when all of that is: nothing more makes the turn wait then.
        acks: Who is told when it is durable, or that it never will be.
        executions: Whose rows it holds.
        waits: Whether its effects and acks wait until the bucket holds its rows.
        settled: Told at once whether its rows are on this disk, or never will be.
    """

    write: Write
    effects: list[Effect] = []
    follow: list[Effect] = []
    last: list[Effect] = []
    acks: list[asyncio.Future[None]] = []
    executions: list[Execution] = []
    waits: bool = False
    settled: Callable[[bool], None] | None = None

    def keys(self) -> set[int]:
        """Return the executions that it is about."""
        return {execution.key for execution in self.executions} | {
            row[0] for row in self.write.log
        }

    def run(self) -> None:
        """Do what still belongs to it."""
        while self.follow or self.last:
            call, args = (self.follow or self.last).pop(0)
            call(*args)
