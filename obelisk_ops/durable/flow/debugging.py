"""
Running a workflow's code against its log to look at it: nothing is executed or written.

Each stop is a fresh replay of the beginning of a log, so going back is as easy as going on.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, NoReturn

import msgspec

from obelisk_ops.core.events import Body, Event
from obelisk_ops.core.fold import last_told
from obelisk_ops.core.history import History
from obelisk_ops.durable.flow.compare import describe
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.lines import hook
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.pending import Halt, Pending
from obelisk_ops.durable.flow.record import Record
from obelisk_ops.durable.flow.tasks import Task, Tasks
from obelisk_ops.errors import Nondeterminism

_OURS = "obelisk_ops.durable."
_BEFORE = "it was cancelled before its code began"
_PARKED = "it was cancelled while it was parked"


@dataclass(frozen=True, slots=True)
class Place:
    """A line of code that runs or waits: the frame, and where in it."""

    frame: FrameType
    line: int
    instruction: int

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.frame.f_code.co_qualname

    @property
    def file(self) -> str:
        """The path of its file."""
        return self.frame.f_code.co_filename


@dataclass(slots=True, kw_only=True)
class Stop:
    """
    Code, brought to some version of its log.

    Attributes:
        version: The last event that it was told.
        asks: What it asks for beyond that, in words.
        waits: What it waits for, in words.
        error: Why it does not fit.
        has_finished: Whether it came to its end.
        cut_short: How the execution ended without its code, in words; empty if it did not.
        places: Where it is, from the outermost function to the innermost.
    """

    version: int
    asks: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    error: Nondeterminism | None = None
    has_finished: bool = False
    cut_short: str = ""
    places: list[Place] = field(default_factory=list)

    def traceback(self) -> TracebackType | None:
        """Return the places as a debugger wants them."""
        made: TracebackType | None = None
        for place in reversed(self.places):
            made = TracebackType(made, place.frame, place.instruction, place.line)
        return made


@hook.dropping()
def replay_to(history: History, function: Workflow[Any, Any], version: int) -> Stop:
    """
    Run the code against the log up to and with an event.

    Raises:
        CorruptHistory: The log cannot be read by this version of the program.
    """
    told = last_told(history.events)
    stop = Stop(version=version)
    if told is not None and version > told:
        stop = Stop(version=told, cut_short=_BEFORE if told == 0 else _PARKED)
        if told == 0:
            return stop  # its code never ran: there is nothing to compare
        version = told
    machine = _Machine(history, function, stop)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what code prints is not our answer
            machine.replay(history.events[1 : version + 1], history.inbox)
    except Nondeterminism as error:
        stop.error = error
    except (KeyError, msgspec.DecodeError) as error:
        stop.error = Nondeterminism(
            f"execution {history.execution_id!r}: its log cannot be read: {error}",
            hint="a later version of this program may read it",
        )
    else:
        stop.has_finished = machine.finished is not None
        if not stop.has_finished:
            stop.waits = [_waited_for(n, pending) for n, pending in machine.pending.items()]
            stop.places = machine.places()
    stop.asks = machine.host.asked
    return stop


def short(event: Event, limit: int = 100) -> str:
    """Write an event on a line."""
    body = event.body if len(event.body) <= limit else event.body[:limit] + "…"
    return f"{event.kind} {body}"


class _Host:
    """Notes what is asked for beyond the log."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def admit(self, n: int, pending: Pending) -> int:  # noqa: ARG002
        """See Host.admit."""
        return 0

    def record(self, body: Body) -> None:
        """See Host.record."""
        self.asked.append(describe(body))


class _Machine(Machine):
    """Remembers where its code was."""

    def __init__(self, history: History, function: Workflow[Any, Any], stop: Stop) -> None:
        self.host = _Host()
        first = history.events[0]
        super().__init__(
            history.execution_id, function, history.created, at=first.at, host=self.host
        )
        self._stop = stop
        self.record = _Record(self, self._note)

    def places(self) -> list[Place]:
        """Return where the workflow's own code waits."""
        return [] if self._main is None else list(_suspended(self._main.code))

    def note_mismatch(self, caller: FrameType) -> None:
        """Remember where the code was when it did something else than its log."""
        if not self._stop.places:
            self._stop.places = _running(caller) or self.places()

    def _task_ended(self, task: Task, value: object, error: BaseException | None) -> None:
        if task is self._main and error is not None and not isinstance(error, Halt):
            self._stop.places = _raised(error.__traceback__)
        super()._task_ended(task, value, error)


class _Record(Record):
    """Tells where it found a difference."""

    def __init__(self, machine: _Machine, note: Any) -> None:  # noqa: ANN401 - as in Record
        super().__init__(machine.id, machine.host, note)
        self._machine = machine

    def _mismatch(self, event: Event, body: Body, instead: str) -> NoReturn:
        self._machine.note_mismatch(sys._getframe(1))  # noqa: SLF001 - there is no other way
        super()._mismatch(event, body, instead)
        raise AssertionError


def _running(frame: FrameType | None) -> list[Place]:
    """Return the frames of workflow code below the one that steps it."""
    found: list[Place] = []
    while frame is not None and frame.f_code is not Tasks._step.__code__:  # noqa: SLF001
        found.append(Place(frame, frame.f_lineno, frame.f_lasti))
        frame = frame.f_back
    return _theirs(reversed(found)) if frame is not None else []


def _suspended(code: Any) -> Iterator[Place]:  # noqa: ANN401 - coroutines and what they await
    found: list[Place] = []
    while code is not None:
        for prefix, inner in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            frame = getattr(code, f"{prefix}_frame", None)
            if frame is not None:
                found.append(Place(frame, frame.f_lineno, frame.f_lasti))
                code = getattr(code, f"{prefix}_{inner}")
                break
        else:
            break
    yield from _theirs(found)


def _raised(trace: TracebackType | None) -> list[Place]:
    found = []
    while trace is not None:
        found.append(Place(trace.tb_frame, trace.tb_lineno, trace.tb_lasti))
        trace = trace.tb_next
    return _theirs(found)


def _theirs(places: Any) -> list[Place]:  # noqa: ANN401 - any iterable of Place
    return [
        place
        for place in places
        if not str(place.frame.f_globals.get("__name__", "")).startswith(_OURS)
    ]


def _waited_for(n: int, pending: Pending) -> str:
    name = getattr(pending.function, "name", "a timer")
    return f"call {n}, {name}"
