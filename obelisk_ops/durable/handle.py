"""One execution, seen from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw

from obelisk_ops.core import failures, requests, values
from obelisk_ops.core.events import Event, Finished
from obelisk_ops.core.ports import StateRow
from obelisk_ops.core.ready import Listing
from obelisk_ops.core.values import Codec
from obelisk_ops.durable.flow.signals import Signal
from obelisk_ops.errors import ExecutionCancelled, ExecutionFailed, ExecutionTimedOut

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class Source(Protocol):
    """What a handle needs of its engine."""

    async def wait_finished(self, execution_id: str) -> Finished:
        """Return how the execution ended, or its last successor, once it has."""
        ...

    def row(self, execution_id: str) -> StateRow:
        """Return the execution's state."""
        ...

    def read_log(self, execution_id: str) -> list[Event]:
        """Return the execution's log."""
        ...

    async def safe_version(self, execution_id: str) -> int | None:
        """Return the version of its log up to which the bucket is proven to hold it."""
        ...

    async def ask(
        self, kind: str, target: str, body: str = "{}", *, is_checked: bool = True
    ) -> bool:
        """Ask for something; see core.requests. Unless checked, its owner says if it fits."""
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
        value: R_co = outcome(await self._source.wait_finished(self.id), self._codec)
        return value

    def status(self) -> StateRow:
        """Return where the execution is; it is there at once, and may be awaited."""
        return self._source.row(self.id)

    def events(self) -> Listing[Event]:
        """Return the execution's log, oldest first; it is there at once, and may be awaited."""
        return Listing(self._source.read_log(self.id))

    async def safe_version(self) -> int | None:
        """
        Return the version up to which its log is safe in S3: proven, not believed.

        The supervisor is asked to ship what there is, and to prove it. None when that
        cannot be proven at once: no supervisor, S3 is away, or it lost its right.
        """
        return await self._source.safe_version(self.id)

    async def cancel(self) -> bool:
        """
        Ask for the execution's end: Cancelled is raised where its code waits.

        Returns:
            False when that was asked for before.

        Raises:
            ExecutionEnded: It is finished.
            NotCancellable: Its workflow does not let itself be cancelled.
        """
        return await self._source.ask("cancel", self.id)

    async def pause(self) -> bool:
        """
        Let nothing of it start, until ``unpause``; what runs may end.

        Returns:
            False when it is paused already.

        Raises:
            ExecutionEnded: It is finished.
        """
        return await self._source.ask("pause", self.id)

    async def unpause(self) -> bool:
        """
        Let a paused execution go on.

        Returns:
            False when it is not paused.

        Raises:
            ExecutionEnded: It is finished.
        """
        return await self._source.ask("unpause", self.id)

    async def signal(
        self,
        signal: Signal[T] | str,
        value: T,
        *,
        id: str | None = None,  # noqa: A002 - it is what everybody calls it
    ) -> bool:
        """
        Send a signal; it is kept until the workflow receives it.

        Args:
            signal: Which one, or its name.
            value: What is sent.
            id: Of two signals with the same id the second is accepted and dropped.

        Returns:
            False when one with this id was sent before.

        Raises:
            InvalidInput: The value does not fit the signal's type.
            ExecutionEnded: The execution is finished.
        """
        if isinstance(signal, str):
            name, text = signal, values.to_json(value)
        else:
            name, text = signal.name, signal.shape.encode(value)
        body = requests.Signal(name=name, value=Raw(text), id=id or "")
        is_checked = not isinstance(signal, str)
        return await self._source.ask(
            "signal", self.id, requests.encode(body), is_checked=is_checked
        )


_FAILED = {"cancelled": ExecutionCancelled, "timed_out": ExecutionTimedOut}


def ending(last: Event) -> Finished:
    """Read the last event of a finished execution."""
    return msgspec.json.decode(last.body, type=Finished)


def outcome(body: Finished, codec: Codec | None) -> Any:  # noqa: ANN401
    """
    Return the value of a finished execution: typed where *codec* is known, else plain.

    Raises:
        ExecutionFailed: It ended with an error.
    """
    if body.error is not UNSET:
        failed = _FAILED.get(body.result, ExecutionFailed)(
            f"{body.error.type}: {body.error.message}"
            if not body.result
            else body.error.message,
            error_type=body.error.type,
            hint=body.error.hint,
        )
        raise failed from failures.rebuild(body.error)
    assert body.ok is not UNSET
    return codec.decode_result(body.ok) if codec else msgspec.json.decode(body.ok)
