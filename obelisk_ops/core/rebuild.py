"""
What the tables beside the log must hold, given the log. Pure.

State and timers are projections of a log, written in the transaction that appends to it;
of the inbox the log says which rows the code was told. Where the tables say otherwise,
a write was torn or the engine has a bug.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from obelisk_ops.core.events import Created, Event, Finished
from obelisk_ops.core.fold import Story, aside_in, began_at, fold
from obelisk_ops.core.ports import InboxItem, Result, State, StateRow

DEADLINE, START = 0, -1
_ERROR_CHARS = 2000
_TOLD = {
    "timer_fired": "timer",
    "child_finished": "child",
    "signal_received": "signal",
    "stub_answered": "stub",
}
#: what arrived, and how a call that waits for it is told in the fold of a log
_ANSWERS = {"child": "child", "stub": "stub", "result": "activity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """
    What follows from a log.

    Attributes:
        state: Where the execution is.
        others: States that are right too: ``pending`` where it is to be driven, or something
            has arrived that it is to be looked at for; ``blocked`` where its code waits
            without having asked for anything.
        result: How it ended.
        finished_at: When; UTC milliseconds.
        error: Of its end, or why it is parked.
        timers: Those that are armed: n → due.
        may_lack: Of these, those that may have rung without a trace.
    """

    state: State
    others: frozenset[State] = frozenset()
    result: Result | None = None
    finished_at: int | None = None
    error: str | None = None
    timers: Mapping[int, int]
    may_lack: frozenset[int] = frozenset()


def rebuild(
    log: Sequence[Event], inbox: Mapping[int, InboxItem], *, created_at: int | None = None
) -> Projection:
    """
    Return what the tables must hold beside a log that has this inbox.

    Args:
        log: From version 0 on.
        inbox: By seq.
        created_at: When the execution was made: of a fork not what its log says.
    """
    story = fold(log)
    if story.has_ended:
        return _ended(log[-1])
    state = _state(story, log)
    timers = _timers(story, log, created_at or log[0].at)
    return Projection(
        state=state,
        others=_others(state, log, inbox),
        error=story.parked["message"] if state is State.PARKED and story.parked else None,
        timers=timers,
        may_lack=frozenset({DEADLINE} if story.cancelled_at is not None else ()),
    )


def differences(
    row: StateRow,
    log: Sequence[Event],
    inbox: Mapping[int, InboxItem],
    timers: Mapping[int, int],
) -> list[str]:
    """Say in words where the tables differ from what the log says; nothing, if all is well."""
    if not log:
        return ["it has no log"]
    wanted = rebuild(log, inbox, created_at=row.created_at)
    return [
        *_numbering(log, inbox),
        *_state_differences(row, wanted),
        *_timer_differences(wanted, timers),
        *_inbox_differences(log, inbox),
        *_forgotten(row, log, inbox),
    ]


# -- rebuilding ----------------------------------------------------------------------------


def _ended(event: Event) -> Projection:
    body = msgspec.json.decode(event.body, type=Finished)
    failed = body.error or None
    text = f"{failed.type}: {failed.message}"[:_ERROR_CHARS] if failed else None
    return Projection(
        state=State.FINISHED,
        result=Result(body.result or "error") if failed else Result.OK,
        finished_at=event.at,
        error=text,
        timers={},
    )


def _state(story: Story, log: Sequence[Event]) -> State:
    latest = next((e.kind for e in reversed(log) if e.kind in _HOLDS), "")
    if latest == "paused" or (latest == "" and story.paused_at is not None):
        return State.PAUSED
    if story.parked is not None:
        return State.CANCELLING if story.is_closing else State.PARKED
    if story.cancelled_at is not None:
        return State.CANCELLING
    if not story.has_begun:
        return State.PENDING
    open_calls = [call for call in story.calls.values() if call.outcome is None]
    is_running = any(call.kind == "activity" for call in open_calls)
    return State.RUNNING if is_running else State.BLOCKED


def _others(
    state: State, log: Sequence[Event], inbox: Mapping[int, InboxItem]
) -> frozenset[State]:
    if state is State.PENDING:
        return frozenset({State.BLOCKED})
    is_new = log[-1].kind in ("unpaused", "resumed")
    is_driven = state in (State.RUNNING, State.BLOCKED)
    # Who writes something down for code that is not there does not ask what it waits for.
    has_news = len(inbox) > len({seq for seq, _, _ in _told(log)} | aside_in(log))
    return frozenset({State.PENDING} if is_driven and (is_new or has_news) else ())


_HOLDS = ("paused", "unpaused", "cancel_requested")


def _timers(story: Story, log: Sequence[Event], created_at: int) -> dict[int, int]:
    armed = {
        call.n: call.due
        for call in story.calls.values()
        if call.outcome is None and call.kind in ("timer", "signal") and call.due
    }
    created = msgspec.json.decode(log[0].body, type=Created)
    if not story.has_begun and created.start_at > log[0].at:
        armed[START] = created.start_at
    begun = began_at(log) if created.forked_from is None else created_at
    if created.timeout and begun is not None and not story.is_late:
        armed[DEADLINE] = begun + created.timeout
    return armed


def _untold(log: Sequence[Event], inbox: Mapping[int, InboxItem]) -> list[int]:
    """Return the inbox rows that the code waits for and was not told."""
    told = {seq for seq, _, _ in _told(log)} | aside_in(log)
    open_calls = [call for call in fold(log).calls.values() if call.outcome is None]
    wanted = {(call.kind, call.n) for call in open_calls}
    signals = {call.function for call in open_calls if call.kind == "signal"}
    return [
        seq
        for seq, item in inbox.items()
        if seq not in told
        and (
            (_ANSWERS.get(item.kind), item.ref) in wanted
            or (item.kind == "signal" and msgspec.json.decode(item.body)["name"] in signals)
        )
    ]


def _told(log: Sequence[Event]) -> Iterator[tuple[int, str, int]]:
    """Yield seq, kind and n of what the code was told from the inbox."""
    for event in log:
        kind = _TOLD.get(event.kind)
        if kind is not None:
            body = msgspec.json.decode(event.body)
            yield body["seq"], kind, body["n"]


# -- comparing -----------------------------------------------------------------------------


def _numbering(log: Sequence[Event], inbox: Mapping[int, InboxItem]) -> Iterator[str]:
    if [event.version for event in log] != list(range(len(log))):
        yield f"its versions are not 0 to {len(log) - 1}"
    if sorted(inbox) != list(range(1, len(inbox) + 1)):
        yield f"the seqs of its inbox are not 1 to {len(inbox)}"
    if any(one.at > two.at for one, two in pairwise(log)):
        yield "its times go backwards"


def _state_differences(row: StateRow, wanted: Projection) -> Iterator[str]:
    if row.state is not wanted.state and row.state not in wanted.others:
        yield f"its state is {row.state}, its log says {wanted.state}"
    for name in ("result", "finished_at", "error"):
        stored, meant = getattr(row, name), getattr(wanted, name)
        if stored != meant:
            yield f"its {name} is {stored}, its log says {meant}"


def _timer_differences(wanted: Projection, timers: Mapping[int, int]) -> Iterator[str]:
    for n in sorted({*timers, *wanted.timers}):
        is_gone = n not in timers and n in wanted.may_lack
        if timers.get(n) != wanted.timers.get(n) and not is_gone:
            yield f"timer {n} is due {timers.get(n)}, its log says {wanted.timers.get(n)}"


def _inbox_differences(log: Sequence[Event], inbox: Mapping[int, InboxItem]) -> Iterator[str]:
    seen = aside_in(log)
    for seq, kind, n in _told(log):
        item = inbox.get(seq)
        if item is None:
            yield f"its log names inbox row {seq}, which is not there"
        elif item.kind != kind or item.ref != (0 if kind == "signal" else n):
            yield f"inbox row {seq} is {item.kind} {item.ref}, its log says {kind} {n}"
        if seq in seen:
            yield f"inbox row {seq} was told twice"
        seen.add(seq)


def _forgotten(
    row: StateRow, log: Sequence[Event], inbox: Mapping[int, InboxItem]
) -> Iterator[str]:
    if row.state is State.BLOCKED:
        for seq in _untold(log, inbox):
            yield f"its code waits for inbox row {seq}, which is there: nobody wakes it"
