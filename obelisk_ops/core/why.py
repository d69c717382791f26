"""
What an execution waits for, in words, and what a person can do about it.

From what is on record: its log, its inbox, and whether somebody owns the database. Of a
chain of child workflows the deepest reason comes first: it is the one that holds up all
the others.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from obelisk_ops.core import ids
from obelisk_ops.core.clock import iso
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.fold import CallStory, Story
from obelisk_ops.core.ports import Beat, State, StateRow
from obelisk_ops.core.words import shorten

#: of a heartbeat, as it is shown to people
DETAILS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """
    What waits in an inbox.

    Attributes:
        kind: As ``InboxItem`` has it.
        name: The number of the call that it answers; of a signal its name.
        at: UTC milliseconds.
    """

    kind: str
    name: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """
    What is known of one execution.

    Attributes:
        row: Where it is.
        story: Its log, told.
        arrived: What waits in its inbox and its code has not seen.
        beats: The last sign of life of each open call.
        children: Its unfinished child workflows, by the number of the call.
    """

    row: StateRow
    story: Story
    arrived: tuple[Arrival, ...] = ()
    beats: Mapping[int, Beat] = field(default_factory=dict)
    children: Mapping[int, Situation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    What is known of the database.

    Attributes:
        name: What it was called on the command line.
        is_owned: Whether a process owns it; None where nobody could, as of a backup.
        now_ms: UTC milliseconds.
        unserved: The functions that its owner does not serve.
        slots: Why calls do not start, as their owner says, or how far those are that other
            workers make attempts of: (key of the execution, n) → text.
        held: The executions (their keys) of which something waits for the bucket.
        trouble: Why the bucket does not hold it yet, if that is known.
        barred: Why no process may start anything in it here, as its supervisor noted.
        is_lost: Whether that is for good, as another machine owns it.
    """

    name: str
    is_owned: bool | None
    now_ms: int
    unserved: frozenset[str] = frozenset()
    slots: Mapping[tuple[int, int], str] = field(default_factory=dict)
    held: frozenset[int] = frozenset()
    trouble: str = ""
    barred: str = ""
    is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """
    One thing that an execution waits for.

    Attributes:
        execution_id: Which execution: the one asked about, or a child workflow of it.
        kind: ``finished``, ``parked``, ``paused``, ``unowned``, ``unserved``, ``start``,
            ``unbegun``, ``bucket``, ``cancelling``, ``activity``, ``retry``, ``slot``,
            ``timer``, ``signal``, ``stub``, ``child`` or ``code``.
        text: For people.
        n: The number of the call, where it is one.
        function: Its activity, stub or workflow; the signal's name.
        attempt: The attempt that runs, or was the last.
        since: UTC milliseconds.
        until: UTC milliseconds.
        error: The last error.
        command: What to type, where that helps.
        heartbeat: The last one of the call, if it has given one.
    """

    execution_id: str
    kind: str
    text: str
    n: int | None = None
    function: str | None = None
    attempt: int | None = None
    since: int | None = None
    until: int | None = None
    error: str | None = None
    command: str | None = None
    heartbeat: Beat | None = None


def explain(asked: Situation, around: Surroundings) -> list[Reason]:
    """Return what an execution waits for, the deepest reason first."""
    told = _Telling(asked, around)
    if asked.row.state is State.FINISHED:
        return [*told.held_back(), told.finished()]
    inner = [
        reason
        for n, child in sorted(asked.children.items())
        for reason in explain(child, around)
    ]
    own = list(told.reasons())
    # Said once, by the deepest execution.
    if any(reason.kind == "unowned" for reason in inner):
        own = [reason for reason in own if reason.kind != "unowned"]
    return inner + own


def family(asked: Situation) -> Iterator[Situation]:
    """Yield an execution, and the unfinished child workflows below it."""
    yield asked
    for child in asked.children.values():
        yield from family(child)


def unanswered(asked: Situation) -> Iterator[tuple[int, int]]:
    """Yield the open calls of activities, in all the family: key of the execution, and n."""
    for one in family(asked):
        for call in one.story.calls.values():
            if call.kind == "activity" and call.outcome is None:
                yield one.row.key, call.n


class _Telling:
    """One execution's own reasons."""

    def __init__(self, asked: Situation, around: Surroundings) -> None:
        self._row, self._story = asked.row, asked.story
        self._children = asked.children
        self._arrived, self._beats = asked.arrived, asked.beats
        self._around, self._now = around, around.now_ms

    def finished(self) -> Reason:
        error = f": {self._row.error}" if self._row.error else ""
        text = f"it waits for nothing: finished, {self._row.result}{error}"
        return self._reason("finished", text, since=self._row.finished_at)

    def held_back(self) -> Iterator[Reason]:
        if self._row.key in self._around.held:
            why = f": {self._around.trouble}" if self._around.trouble else ""
            text = "what it did last is on this disk, and waits until the bucket holds it"
            yield self._reason("bucket", text + why)

    def reasons(self) -> Iterator[Reason]:
        yield from self.held_back()
        yield from self._held_up()
        if self._story.cancelled_at is not None:
            yield self._cancelling()
        if not self._story.has_begun and self._story.start_at > self._now:
            yield self._reason(
                "start", f"begins {self._in(self._story.start_at)}", until=self._story.start_at
            )
        calls = [call for call in self._story.calls.values() if call.outcome is None]
        if self._story.is_closing:
            calls = [call for call in calls if call.n in self._children]
        for call in calls:
            yield self._call(call)
        if not (calls or self._is_held or self._story.start_at > self._now):
            yield self._to_be_run()

    @property
    def _is_held(self) -> bool:
        return self._story.parked is not None or self._story.paused_at is not None

    def _to_be_run(self) -> Reason:
        if self._story.has_begun:
            return self._reason("code", "its code is to go on from where the log ends")
        return self._reason(
            "unbegun", "its code has not begun: a worker that serves it takes it up"
        )

    def _held_up(self) -> Iterator[Reason]:
        if self._story.parked is not None and not self._story.is_closing:
            yield self._parked(self._story.parked)
        if self._story.paused_at is not None:
            yield self._paused(self._story.paused_at)
        if self._around.is_owned is False or self._around.is_lost:
            yield self._unowned()
        elif self._row.function in self._around.unserved:
            yield self._reason(
                "unserved",
                f"the owner of the database does not serve {self._row.function}: stop it, and "
                "start one that does",
                function=self._row.function,
                command=f"obelisk-ops worker TARGET --db {self._db}",
            )

    def _unowned(self) -> Reason:
        if self._around.barred:  # a worker would start nothing
            return self._reason(
                "unowned", f"nothing goes on here: {self._around.barred}",
                command="obelisk-ops status",
            )  # fmt: skip
        return self._reason(
            "unowned",
            "no process owns the database: nothing goes on",
            command=f"obelisk-ops worker TARGET --db {self._db}",
        )

    def _parked(self, error: dict[str, str]) -> Reason:
        return self._reason(
            "parked",
            f"parked: {error['message']}; mend the code and start its worker again, or fork "
            "the execution from before the change",
            error=error["message"],
            command=f"obelisk-ops execution replay {self._id} TARGET --db {self._db}",
        )

    def _paused(self, since: int) -> Reason:
        count = sum(one.at >= since for one in self._arrived)
        waits = f"; {count} arrived meanwhile" if count else ""
        if self._story.is_moved:
            return self._reason(
                "paused", f"moved on {iso(since)}: it goes on in another database", since=since
            )
        return self._reason(
            "paused",
            f"paused since {iso(since)}{waits}",
            since=since,
            command=self._to_its_owner(
                f"obelisk-ops execution unpause {self._id} --db {self._db}"
            ),
        )

    def _cancelling(self) -> Reason:
        since = self._story.cancelled_at
        assert since is not None
        why = "it took too long" if self._story.is_late else "a cancel was asked for"
        what = "it cleans up"
        if self._story.is_closing:
            what = "it was parked, and ends without its code when its child workflows have"
        return self._reason("cancelling", f"{why} at {iso(since)}: {what}", since=since)

    def _call(self, call: CallStory) -> Reason:
        match call.kind:
            case "activity":
                return self._activity(call)
            case "timer":
                return self._timer(call)
            case "signal":
                return self._signal(call)
            case "stub":
                return self._stub(call)
            case _:
                return self._of(
                    call, "child", f"child workflow {self._call_id(call)} ({call.function})"
                )

    def _activity(self, call: CallStory) -> Reason:
        name = f"activity {call.function}"
        if call.started_at is not None:
            beat = self._beats.get(call.n)
            sign = self._sign_of_life(call, beat) if beat is not None else ""
            began = f"{name}: attempt {call.attempts} began {self._ago(call.started_at)}{sign}"
            elsewhere = self._around.slots.get((self._row.key, call.n))
            if elsewhere:
                began += f"; {elsewhere}"
            elif self._around.is_owned is False:
                began += "; its process has ended, it will be made again"
            return self._of(call, "activity", began, since=call.started_at)
        if call.retry_at is not None and call.retry_at > self._now:
            text = f"{name}: attempt {call.attempts} failed ({_error(call)}); the next one "
            return self._of(call, "retry", text + self._in(call.retry_at), until=call.retry_at)
        return self._slot(call, name)

    def _sign_of_life(self, call: CallStory, beat: Beat) -> str:
        whose = "" if beat.attempt == call.attempts else f", of attempt {beat.attempt}"
        shown = shorten(beat.body, DETAILS_MAX)
        details = "" if beat.body == "null" else f": {shown}"
        return f", last heartbeat {self._ago(beat.at)}{whose}{details}"

    def _slot(self, call: CallStory, name: str) -> Reason:
        queue = f"queue {call.queue!r}" if call.queue else "its queue"
        told = self._around.slots.get((self._row.key, call.n))
        text = f"{name}: attempt {call.attempts + 1} waits to start"
        text += f": {told}" if told else f", in {queue}"
        if call.retry_at is not None:
            text += f"; the last one failed ({_error(call)})"
            if told is None and "TimedOut" in (_error(call) or ""):
                text += ", and its thread may still run"
        return self._of(call, "slot", text, since=call.retry_at or call.asked_at)

    def _timer(self, call: CallStory) -> Reason:
        assert call.due is not None
        text = f"a timer, {'due' if call.due <= self._now else 'fires'} {self._in(call.due)}"
        return self._of(call, "timer", text, since=call.asked_at, until=call.due)

    def _signal(self, call: CallStory) -> Reason:
        until = f"; given up {self._in(call.due)}" if call.due else ""
        others = sorted({one.name for one in self._arrived if one.kind == "signal"})
        if call.function in others:
            until += "; one has arrived"
        elif others:
            until += f"; others have arrived: {', '.join(others)}"
        return self._of(
            call, "signal", f"signal {call.function!r}{until}{_aside(call)}",
            since=call.asked_at, until=call.due or None,
            command=self._to_its_owner(
                f"obelisk-ops execution signal {self._id} {call.function} JSON --db {self._db}"
            ),
        )  # fmt: skip

    def _stub(self, call: CallStory) -> Reason:
        text = f"a result from outside: {call.function}, asked for {self._ago(call.asked_at)}"
        if any((one.kind, one.name) == ("stub", str(call.n)) for one in self._arrived):
            text += "; it has arrived"
        return self._of(
            call, "stub", text + _aside(call), since=call.asked_at,
            command=self._to_its_owner(
                f"obelisk-ops execution stub {self._call_id(call)} JSON --db {self._db}"
            ),
        )  # fmt: skip

    def _of(self, call: CallStory, kind: str, text: str, **more: Any) -> Reason:  # noqa: ANN401
        return Reason(
            execution_id=self._row.id, kind=kind, text=text, n=call.n, function=call.function,
            attempt=call.attempts or None, error=_error(call),
            heartbeat=self._beats.get(call.n), **more,
        )  # fmt: skip

    def _reason(self, kind: str, text: str, **more: Any) -> Reason:  # noqa: ANN401
        return Reason(execution_id=self._row.id, kind=kind, text=text, **more)

    def _to_its_owner(self, command: str) -> str | None:
        """Return a command that asks the owner; not where none could do what is asked."""
        nobody = self._around.is_owned is None or self._around.is_lost
        return None if nobody else command

    @property
    def _id(self) -> str:
        return shlex.quote(self._row.id)

    @property
    def _db(self) -> str:
        return shlex.quote(self._around.name)

    def _call_id(self, call: CallStory) -> str:
        return shlex.quote(ids.derived(self._row.id, call.n))

    def _ago(self, at: int) -> str:
        return f"{_length(self._now - at)} ago"

    def _in(self, at: int) -> str:
        left = at - self._now
        when = f"in {_length(left)}" if left >= 0 else f"since {_length(-left)}"
        return f"{when} ({iso(at)})"


def _length(span_ms: int) -> str:
    """Write a span of time without more detail than anybody wants to read."""
    seconds = max(0, span_ms) / 1000
    return format_duration(round(seconds) if seconds >= 10 else round(seconds, 1))  # noqa: PLR2004


def _aside(call: CallStory) -> str:
    return f"; what came was set aside: {call.aside}" if call.aside else ""


def _error(call: CallStory) -> str | None:
    return f"{call.error['type']}: {call.error['message']}" if call.error else None
