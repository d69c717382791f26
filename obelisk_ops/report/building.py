"""From what is on record to the model of a report. Pure, and bounded however long a run was."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from obelisk_ops.core.chronicle import Attempt, Call, Chronicle, Outcome
from obelisk_ops.core.events import Event, Failure
from obelisk_ops.core.fold import Story
from obelisk_ops.core.ports import Output
from obelisk_ops.core.telling import tell
from obelisk_ops.core.why import Reason
from obelisk_ops.inspect.dossier import Dossier
from obelisk_ops.report import excerpts
from obelisk_ops.report.excerpts import Excerpt
from obelisk_ops.report.lanes import draw
from obelisk_ops.report.model import (
    AttemptPart,
    CallPart,
    EventPart,
    Fault,
    Sheet,
    Totals,
    Wait,
)

T = TypeVar("T")

CALLS_MAX: Final = 5_000
EVENTS_MAX: Final = 12_000
_WHOLE_VALUE: Final = 64_000
_TRACEBACK: Final = 16_000
_BODY: Final = 240

#: of these the report tells, whatever is left out
_TELLING: Final = frozenset({Outcome.ERROR, Outcome.OPEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    What the log of an execution does not tell.

    Attributes:
        database: As it was named.
        as_of: Until when it is told; UTC milliseconds.
        reasons: Why it does not go on.
        places: Where in the report executions are told, by id.
    """

    database: str
    as_of: int
    reasons: Sequence[Reason] = ()
    places: Mapping[str, int]


def build(dossier: Dossier, setting: Setting) -> Sheet:
    """
    Return what is told of one execution.

    Raises:
        VerificationFailed: It has a log that nobody wrote.
        DecodeError: An event is damaged; of msgspec.
    """
    row, told, story = dossier.row, tell(dossier.history), dossier.situation.story
    _take_back(told, story)
    as_of = told.last_at if told.has_ended else max(told.last_at, setting.as_of)
    origin = story.forked_from
    calls, calls_left_out = _of_many(list(told.calls.values()), CALLS_MAX, _is_telling)
    log, events_left_out = _of_many(dossier.history.events, EVENTS_MAX)
    limit = excerpts.value_limit(told)
    parts = _Parts(dossier, setting, as_of, limit)
    return Sheet(
        execution_id=row.id, function=row.function, state=row.state, result=row.result,
        created_at=told.created_at, began_at=told.began_at, finished_at=row.finished_at,
        as_of_at=as_of, duration_ms=max(as_of - told.created_at, 0),
        parent_id=dossier.parent_id,
        forked_from=f"{origin['id']} at version {origin['version']}" if origin else None,
        continues=story.continues or None, continued_as=told.continued_as or None,
        schedule_id=story.schedule_id or None, digest=told.digest,
        input=excerpts.of_json(told.input, _WHOLE_VALUE),
        value=None if told.value is None else excerpts.of_json(told.value, _WHOLE_VALUE),
        error=_fault(told.error, _TRACEBACK), totals=_totals(told, dossier.history.events),
        picture=draw(told, as_of), waits=() if told.has_ended else _waits(setting.reasons),
        next_steps=tuple(next_steps(told, row.id, setting.database)),
        calls=tuple(parts.call(call) for call in calls), calls_left_out=calls_left_out,
        events=tuple(_event(event) for event in log), events_left_out=events_left_out,
    )  # fmt: skip


def _take_back(told: Chronicle, story: Story) -> None:
    """Leave out attempts that are on record and, as their owner says, have not started."""
    for call in told.calls.values():
        known = story.calls.get(call.n)
        is_open = bool(call.attempts) and call.attempts[-1].outcome is Outcome.OPEN
        if is_open and known is not None and not known.is_in_flight:
            call.attempts.pop()


def next_steps(told: Chronicle, execution_id: str, database: str) -> Iterable[tuple[str, str]]:
    """Yield what a person may do with an execution that failed, and what to type."""
    name, where = shlex.quote(execution_id), shlex.quote(database)
    if told.error is None:
        return
    yield (
        "stop in the debugger where your code was",
        f"obelisk-ops execution replay {name} TARGET --pdb --db {where}",
    )
    if told.has_ended:
        version = _before_the_failure(told)
        fork = f"obelisk-ops execution fork {name} --from-version {version} --db {where}"
        yield f"try changed code from event {version} on, in a new file", f"{fork} --to fork.db"


def _before_the_failure(told: Chronicle) -> int:
    """Return the version of the call that failed as the execution did, or of its end."""
    assert told.error is not None
    meant = (told.error.type, told.error.message)
    for call in reversed(told.calls.values()):
        if call.error is not None and (call.error.type, call.error.message) == meant:
            return call.version
    return told.last_version


def _of_many(
    items: Sequence[T], most: int, is_wanted: Callable[[T], bool] = lambda _: False
) -> tuple[list[T], int]:
    """Return the first and the last ones, and what is wanted of those between; and the rest."""
    if len(items) <= most:
        return list(items), 0
    half = most // 2
    between = [item for item in items[half:-half] if is_wanted(item)][:half]
    return [*items[:half], *between, *items[-half:]], len(items) - 2 * half - len(between)


def _is_telling(call: Call) -> bool:
    return call.outcome in _TELLING


def _totals(told: Chronicle, log: Sequence[Event]) -> Totals:
    attempts = [attempt for call in told.calls.values() for attempt in call.attempts]
    return Totals(
        events=len(log),
        calls=len(told.calls),
        attempts=len(attempts),
        retries=sum(attempt.number > 1 for attempt in attempts),
        lost=sum(attempt.outcome is Outcome.LOST for attempt in attempts),
    )


def _waits(reasons: Iterable[Reason]) -> tuple[Wait, ...]:
    return tuple(
        Wait(execution_id=one.execution_id, kind=one.kind, text=one.text, command=one.command)
        for one in reasons
    )


def _event(event: Event) -> EventPart:
    body = excerpts.beginning(event.body, _BODY)
    return EventPart(version=event.version, at=event.at, kind=event.kind, body=body)


def _fault(failure: Failure | None, limit: int) -> Fault | None:
    if failure is None:
        return None
    return Fault(
        type=failure.type,
        message=excerpts.beginning(failure.message, limit),
        hint=failure.hint,
        traceback=excerpts.ending(failure.traceback, limit),
    )


class _Parts:
    """Tells the calls of one execution."""

    def __init__(self, dossier: Dossier, setting: Setting, as_of: int, limit: int) -> None:
        self._children, self._places = dossier.children, setting.places
        self._as_of, self._limit = as_of, limit
        self._outputs: dict[tuple[int, int], list[Output]] = {}
        for piece in dossier.outputs:
            self._outputs.setdefault((piece.n, piece.attempt), []).append(piece)

    def call(self, call: Call) -> CallPart:
        told_at = self._as_of if call.told_at is None else call.told_at
        child = self._children.get(call.n)
        return CallPart(
            n=call.n, kind=call.kind, function=call.function, outcome=call.outcome,
            version=call.version, asked_at=call.asked_at, told_version=call.told_version,
            told_at=call.told_at, duration_ms=max(told_at - call.asked_at, 0),
            due_at=call.due, queue=call.queue,
            input=self._excerpt(call.input), value=self._excerpt(call.value),
            error=self._fault(call.error),
            attempts=tuple(self._attempt(call, attempt) for attempt in call.attempts),
            child_id=call.target, child_state=child.result or child.state if child else "",
            sheet=self._places.get(call.target) if call.kind == "child" else None,
        )  # fmt: skip

    def _attempt(self, call: Call, attempt: Attempt) -> AttemptPart:
        ended_at = self._as_of if attempt.ended_at is None else attempt.ended_at
        output = self._outputs.get((call.n, attempt.number), ())
        # The last error is the call's, and told there.
        is_told = attempt.outcome is Outcome.ERROR
        return AttemptPart(
            number=attempt.number, outcome=attempt.outcome, began_at=attempt.began_at,
            ended_at=attempt.ended_at, duration_ms=max(ended_at - attempt.began_at, 0),
            error=None if is_told else self._fault(attempt.error),
            output=excerpts.printed(output, self._limit),
        )  # fmt: skip

    def _excerpt(self, value: bytes | None) -> Excerpt | None:
        return None if value is None else excerpts.of_json(value, self._limit)

    def _fault(self, failure: Failure | None) -> Fault | None:
        return _fault(failure, self._limit)
