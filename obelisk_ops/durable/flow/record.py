"""What the log says comes next, and who writes it when there is no more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import (
    COMMANDS,
    KINDS,
    RESPONSES,
    Body,
    Event,
    Intended,
    Patched,
    Returned,
)
from obelisk_ops.durable.flow.compare import describe, does_not_fit, same
from obelisk_ops.durable.flow.pending import Halt, Host
from obelisk_ops.errors import OpsError

#: commands and responses; code that asks for more than before is told the rest first
_SEEN_BY_CODE = COMMANDS | RESPONSES


class Record:
    """While there is history, a command is compared with it; after that it is recorded."""

    def __init__(self, execution_id: str, host: Host, note: Callable[[Body], None]) -> None:
        """
        Begin without history.

        Args:
            execution_id: For messages.
            host: Records commands that are new.
            note: Told of events that code cannot see.
        """
        self._id = execution_id
        self._host = host
        self._note = note
        self._events: Sequence[Event] = ()
        self._bodies: Sequence[Any] = ()
        self._next = 0  # which of them comes next
        self.has_history = False  # whether something is told again, not for the first time
        self.broken: OpsError | None = None
        self.has_ended = False
        self.is_replay = False  # of code that has run before, until it asks for more

    def load(self, log: Sequence[Event]) -> None:
        """
        Take in history.

        Raises:
            msgspec.DecodeError: It is damaged. Not an outcome of the code: none has run.
            KeyError: It holds events of a later version.
        """
        self._bodies = events.decode_all(log)
        self._events = log
        self.has_history = bool(log)
        self.is_replay = any(event.kind in COMMANDS for event in log)

    def next(self) -> tuple[Event, Any]:
        """
        Take what comes next; code waits for it.

        Raises:
            Halt: It is something that the code asked for before, and not now.
        """
        event, body = self._take()
        if event.kind in COMMANDS:
            self._mismatch(event, body, "waits for something else")
        return event, body

    def take_answered(self, n: int, function: str, given: bytes) -> tuple[Raw, int] | None:
        """
        Take call *n* and its result, if they come next; return the result, and its time.

        An error is told in the ordinary way, and so is whatever does not fit.
        """
        place, bodies = self._next, self._bodies
        after = place + 2
        if after > len(bodies):
            return None
        asked, answer = bodies[place], bodies[place + 1]
        if (
            type(asked) is not Intended or type(answer) is not Returned or asked.n != n
            or answer.n != n or asked.fn != function or asked.set or answer.ok is UNSET
            or bytes(asked.input) != given
        ):  # fmt: skip
            return None
        at = self._events[place + 1].at
        self._next = after
        if after == len(bodies):
            self._pass(0)
        return answer.ok, at

    def command(self, wanted: Any) -> Any:  # noqa: ANN401 - returns the type it is given
        """
        Ask for something; return it as it is on record.

        Raises:
            Halt: The code must not run any further.
        """
        if self.broken is not None or self.has_ended:
            raise Halt
        if self.has_history:
            self.note_all()
        if not self.has_history:
            self.is_replay = False
            self._host.record(wanted)
            return wanted
        event, recorded = self._take()
        if event.kind != KINDS[type(wanted)] or not same(recorded, wanted):
            self._mismatch(event, recorded, f"asks for {describe(wanted)}")
        return recorded

    def has_patch(self, name: str) -> bool:
        """Tell whether code with this change goes on from here; mark it if it is new."""
        self.check()
        self.note_all()
        if self.has_history:
            body = self._bodies[self._next]
            if type(body) is not Patched or body.name != name:
                return False
        self.command(Patched(name=name))
        return True

    def check(self) -> None:
        """
        Return if the code may go on.

        Raises:
            Halt: It may not.
        """
        if self.broken is not None or self.has_ended:
            raise Halt

    def note_all(self) -> None:
        """Pass over what code cannot see."""
        while self.has_history and self._events[self._next].kind not in _SEEN_BY_CODE:
            self._note(self._take()[1])

    def _take(self) -> tuple[Event, Any]:
        place = self._next
        taken = self._events[place], self._bodies[place]
        self._pass(1)
        return taken

    def _pass(self, count: int) -> None:
        self._next += count
        if self._next >= len(self._events):
            self.has_history = False
            self._events, self._bodies, self._next = (), (), 0

    def _mismatch(self, event: Event, body: Body, instead: str) -> None:
        self.broken = self.broken or does_not_fit(self._id, event, body, instead)
        raise Halt
