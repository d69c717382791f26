"""What happens together: rows that become durable as one, and what may be seen after."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from obelisk_ops.core.ports import Write

if TYPE_CHECKING:
    from obelisk_ops.durable.execution import Execution

Effect = tuple[Callable[..., None], tuple[Any, ...]]


@dataclass(slots=True)
class Turn:
    """
    One Write in the making.

    Attributes:
        write: Its rows.
        effects: What happens once it is durable.
        follow: What still belongs to the same Write, done when the code at hand waits.
        acks: Who is told when it is durable, or that it never will be.
        executions: Whose rows it holds.
    """

    write: Write
    effects: list[Effect] = field(default_factory=list)
    follow: deque[Effect] = field(default_factory=deque)
    acks: list[asyncio.Future[None]] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)

    def run(self) -> None:
        """Do what still belongs to it."""
        while self.follow:
            call, args = self.follow.popleft()
            call(*args)
