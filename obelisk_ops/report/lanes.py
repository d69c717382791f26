"""
From what happened to lanes and bars: which there are, where they lie, what they look like.

A picture has a bounded number of lanes and bars, however long the run was. Few calls get a
lane each. Of many, those of one function share lanes where they do not overlap, and bars
too small to be told apart become one, which looks like the worst of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from obelisk_ops.core.chronicle import Attempt, Call, Chronicle, Outcome, Rest
from obelisk_ops.core.durations import rough
from obelisk_ops.report.scale import Scale, Tick, make_scale

LANES_MAX: Final = 40
LANES_OF_ONE_FUNCTION_MAX: Final = 8
BARS_MAX: Final = 4_000
#: on the lane of the run itself, of pauses and of signals
RUN_MAX: Final = 200
#: narrower than about one and a half pixels of a usual screen
_TINY: Final = 0.0015

#: what a bar that stands for several looks like: the first of these that one of them has
_WORST: Final = (
    "error", "lost", "failed", "cancelled", "open", "ok",
    "child-error", "child-open", "child-ok", "fading", "wait", "backoff", "queued",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """
    A time of one call, or of several that lie so close that they look like one.

    Attributes:
        left: From 0 to 1.
        right: The same.
        look: One of the names in ``_WORST``; of the run itself, ``Rest`` or ``run-…``.
        title: For people; of several, the worst one's, as ``look`` and ``n`` are.
        n: The call, if it is one.
        count: How many bars this stands for.
    """

    left: float
    right: float
    look: str
    title: str
    n: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """
    A line of bars that do not overlap.

    Attributes:
        kind: Of its calls.
        name: Of their function; the last part of it is what people look for.
        n: The call, if it is the lane of one.
        calls: How many share it.
        bars: From left to right.
    """

    kind: str
    name: str
    n: int | None = None
    calls: int = 1
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Something at one moment; see ``core.chronicle.Mark``."""

    place: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """
    A run, drawn.

    Attributes:
        scale: Where its moments lie.
        ticks: Marks on the axis.
        run: The run itself: when its code could run, and when not.
        pins: What happened to all of it.
        lanes: Its calls.
        notes: What is not drawn as it was, for people.
    """

    scale: Scale
    ticks: tuple[Tick, ...]
    run: tuple[Bar, ...]
    pins: tuple[Pin, ...]
    lanes: tuple[Lane, ...]
    notes: tuple[str, ...]


def draw(told: Chronicle, as_of: int) -> Picture:
    """Return the picture of a run as it was at *as_of*, UTC milliseconds."""
    end = told.last_at if told.has_ended else max(told.last_at, as_of)
    calls = list(told.calls.values())
    scale = make_scale(_moments(told, calls, end), _busy(calls, end))
    lanes, notes = _lanes(calls, scale, end)
    if any(piece.is_folded for piece in scale.pieces):
        notes.insert(0, "Hatched times, in which nothing happened, are drawn shortened.")
    many = len(told.marks) + len(told.stretches) - _few(told.marks) - _few(told.stretches)
    if many:
        notes.append(f"{many} pauses, signals and the like are not drawn.")
    return Picture(
        scale=scale,
        ticks=tuple(scale.ticks()),
        run=tuple(_run(told, scale, end)),
        pins=tuple(
            Pin(place=scale.place(mark.at), kind=mark.kind, title=f"{mark.kind} {mark.text}")
            for mark in told.marks[:RUN_MAX]
        ),
        lanes=tuple(lanes),
        notes=tuple(notes),
    )


def _few(items: Sequence[object]) -> int:
    return min(len(items), RUN_MAX)


def _moments(told: Chronicle, calls: Iterable[Call], end: int) -> Iterator[int]:
    yield from (told.created_at, end)
    spans: list[tuple[int, int | None]] = []
    for call in calls:
        spans.append((call.asked_at, call.told_at))
        spans += ((attempt.began_at, attempt.ended_at) for attempt in call.attempts)
    spans += ((stretch.began_at, stretch.ended_at) for stretch in told.stretches)
    yield from (at for span in spans for at in span if at is not None)
    yield from (mark.at for mark in told.marks)


def _busy(calls: Iterable[Call], end: int) -> Iterator[tuple[int, int]]:
    for call in calls:
        for attempt in call.attempts:
            yield attempt.began_at, end if attempt.ended_at is None else attempt.ended_at


def _run(told: Chronicle, scale: Scale, end: int) -> Iterator[Bar]:
    """Yield the bar of the run, and those of its rests, which lie upon it."""
    look = "open" if not told.has_ended else "ok" if told.error is None else "error"
    title = f"the run, {rough(end - told.created_at)}"
    yield _bar(scale, told.created_at, end, f"run-{look}", title)
    for stretch in told.stretches[:RUN_MAX]:
        until = end if stretch.ended_at is None else stretch.ended_at
        title = f"{_RESTS[stretch.rest]}, {rough(until - stretch.began_at)}"
        bar = _bar(scale, stretch.began_at, until, str(stretch.rest), title)
        if stretch.rest is not Rest.UNBEGUN or bar.right - bar.left > _TINY:
            yield bar


_RESTS: Final = {
    Rest.UNBEGUN: "not begun",
    Rest.PAUSED: "paused",
    Rest.PARKED: "parked: its code does not fit its log",
    Rest.DIED: "a process died in this time, and at its end the next one took over",
}


# -- lanes -----------------------------------------------------------------------------


def _lanes(calls: Sequence[Call], scale: Scale, end: int) -> tuple[list[Lane], list[str]]:
    if len(calls) <= LANES_MAX:
        return [_own_lane(call, scale, end) for call in calls], []
    notes = ["Calls of one function share lanes, and bars that lie close together are one."]
    lanes: list[Lane] = []
    left_out = 0
    for kind, name, group in _by_function(calls):
        packed = _pack(group, end)
        for row in packed[:LANES_OF_ONE_FUNCTION_MAX]:
            bars = tuple(bar for call in row for bar in _bars(call, scale, end))
            lanes.append(Lane(kind=kind, name=name, calls=len(row), bars=bars))
        left_out += sum(len(row) for row in packed[LANES_OF_ONE_FUNCTION_MAX:])
    left_out += sum(lane.calls for lane in lanes[LANES_MAX:])
    if left_out:
        notes.append(f"{left_out} of {len(calls)} calls, that ran beside these, are not drawn.")
    return _thin(lanes[:LANES_MAX]), notes


def _own_lane(call: Call, scale: Scale, end: int) -> Lane:
    bars = tuple(_bars(call, scale, end))
    return Lane(kind=call.kind, name=call.function, n=call.n, bars=bars)


def _by_function(calls: Iterable[Call]) -> Iterator[tuple[str, str, list[Call]]]:
    """Yield the calls of each function, in the order in which it was first called."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.kind, call.function), []).append(call)
    for (kind, name), group in groups.items():
        yield kind, name, group


def _pack(calls: Iterable[Call], end: int) -> list[list[Call]]:
    """Put calls into as few rows as there are at the same time."""
    rows: list[list[Call]] = []
    free: list[tuple[int, int]] = []  # when a row ends, and which
    for call in sorted(calls, key=lambda call: call.asked_at):
        until = end if call.told_at is None else call.told_at
        if free and free[0][0] <= call.asked_at:
            _, row = heapq.heappop(free)
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(call)
        heapq.heappush(free, (until, row))
    return rows


def _thin(lanes: Sequence[Lane]) -> list[Lane]:
    """Join bars that are close to one another, until there are few enough."""
    cell = _TINY
    thinned = [_joined(lane, cell) for lane in lanes]
    while sum(len(lane.bars) for lane in thinned) > BARS_MAX:
        cell *= 2
        thinned = [_joined(lane, cell) for lane in lanes]
    return thinned


def _joined(lane: Lane, cell: float) -> Lane:
    bars: list[Bar] = []
    for bar in lane.bars:
        last = bars[-1] if bars else None
        if last is not None and bar.right - last.left <= cell:
            bars[-1] = _together(last, bar)
        else:
            bars.append(bar)
    return replace(lane, bars=tuple(bars))


def _together(one: Bar, other: Bar) -> Bar:
    worst = min(one, other, key=lambda bar: _WORST.index(bar.look))
    right, count = max(one.right, other.right), one.count + other.count
    return replace(worst, left=one.left, right=right, count=count)


# -- bars ------------------------------------------------------------------------------


def _bars(call: Call, scale: Scale, end: int) -> Iterator[Bar]:
    until = end if call.told_at is None else call.told_at
    if call.kind == "activity":
        yield from _attempts(call, scale, until)
    else:
        look = f"child-{_CHILD[call.outcome]}" if call.kind == "child" else "wait"
        words = f"{_words(call)}: {call.outcome}, {rough(until - call.asked_at)}"
        yield _bar(scale, call.asked_at, until, look, words, call.n)


_CHILD: Final = {
    Outcome.OK: "ok", Outcome.OPEN: "open",
    Outcome.ERROR: "error", Outcome.CANCELLED: "error",
    Outcome.FAILED: "error", Outcome.LOST: "error",
}  # fmt: skip


def _attempts(call: Call, scale: Scale, until: int) -> Iterator[Bar]:
    """Yield attempts, and what is between them."""
    queued = call.attempts[0].began_at if call.attempts else until
    if queued > call.asked_at:
        yield _bar(scale, call.asked_at, queued, "queued", f"{_words(call)}: waits to start",
                   call.n)  # fmt: skip
    for attempt, following in pairwise([*call.attempts, None]):
        assert attempt is not None
        ended = until if attempt.ended_at is None else attempt.ended_at
        yield _bar(scale, attempt.began_at, ended, str(attempt.outcome),
                   _attempt_words(call, attempt, ended), call.n)  # fmt: skip
        if following is not None or attempt.outcome is Outcome.FAILED:
            next_at = until if following is None else following.began_at
            look, what = _AFTER[attempt.outcome is Outcome.LOST]
            yield _bar(scale, ended, next_at, look, f"{_words(call)}: {what}", call.n)


#: what is between an attempt and the next one, if it was seen to end, and if it was not
_AFTER: Final = (
    ("backoff", "until the next attempt"),
    ("fading", "its process died in this time, nobody saw when"),
)


def _attempt_words(call: Call, attempt: Attempt, ended: int) -> str:
    words = f"{_words(call)}, attempt {attempt.number}: {attempt.outcome}"
    if attempt.error is not None:
        words += f" ({attempt.error.type}: {attempt.error.message[:120]})"
    return f"{words}, {rough(ended - attempt.began_at)}"


def _words(call: Call) -> str:
    return f"call {call.n}, {call.kind} {call.function}".rstrip()


def _bar(
    scale: Scale, begin: int, end: int, look: str, title: str, n: int | None = None
) -> Bar:  # fmt: skip
    left = scale.place(begin)
    return Bar(left=left, right=max(left, scale.place(end)), look=look, title=title, n=n)
