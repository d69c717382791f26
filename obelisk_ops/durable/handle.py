"""One execution, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET

from obelisk_ops.core import failures
from obelisk_ops.core.events import Event, Finished
from obelisk_ops.core.ports import StateRow
from obelisk_ops.core.values import Codec
from obelisk_ops.errors import ExecutionFailed

R_co = TypeVar("R_co", covariant=True)


class Source(Protocol):
    """What a handle needs of its engine."""

    async def wait_finished(self, execution_id: str) -> None:
        """Return when the execution is finished."""
        ...

    def row(self, execution_id: str) -> StateRow:
        """Return the execution's state."""
        ...

    def read_log(self, execution_id: str) -> list[Event]:
        """Return the execution's log."""
        ...


@dataclass(frozen=True, slots=True)
class Handle(Generic[R_co]):
    """
    An execution that exists, here or elsewhere.

    Attributes:
        id: Its id.
        created: Whether the call that returned this handle created it.
    """

    id: str
    created: bool
    _source: Source
    _codec: Codec | None = None

    async def result(self) -> R_co:
        """
        Wait for the end, and return the value.

        Raises:
            ExecutionFailed: The workflow raised; its own error is the cause.
            Nondeterminism: The execution is parked.
            NotFinished: The engine was closed first.
        """
        await self._source.wait_finished(self.id)
        value: R_co = outcome(self._source.read_log(self.id), self._codec)
        return value

    def status(self) -> StateRow:
        """Return where the execution is."""
        return self._source.row(self.id)

    def events(self) -> list[Event]:
        """Return the execution's log, oldest first."""
        return self._source.read_log(self.id)


def outcome(history: list[Event], codec: Codec | None) -> Any:  # noqa: ANN401
    """
    Return the value of a finished execution: typed where *codec* is known, else plain.

    Raises:
        ExecutionFailed: It ended with an error.
    """
    body = msgspec.json.decode(history[-1].body, type=Finished)
    if body.error is not UNSET:
        failed = ExecutionFailed(
            f"{body.error.type}: {body.error.message}",
            error_type=body.error.type,
            hint=body.error.hint,
        )
        raise failed from failures.rebuild(body.error)
    assert body.ok is not UNSET
    return codec.decode_result(body.ok) if codec else msgspec.json.decode(body.ok)
