"""From moments to places, from calls to lanes and bars, and how many of them there may be."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk_ops.core.telling import tell
from obelisk_ops.report.lanes import BARS_MAX, LANES_MAX, RUN_MAX, Picture, draw
from obelisk_ops.report.picture import timeline
from obelisk_ops.report.scale import make_scale
from tests.runs import BEGIN, ERROR, Step, history, long_run, returns

HOUR, DAY = 3_600_000, 86_400_000


SCALES: list[tuple[list[int], list[tuple[int, int]], list[tuple[int, int, bool]]]] = [
    # moments, when something ran                        pieces: begin, end, is it folded
    ([0, 100], [(0, 100)], [(0, 100, False)]),
    ([5], [], [(5, 5, False)]),
    # even, as long as what is not quiet has room
    ([0, 100, 400, 500], [(0, 100), (400, 500)], [(0, 500, False)]),
    (
        [0, 100, HOUR, HOUR + 100], [(0, 100), (HOUR, HOUR + 100)],
        [(0, 100, False), (100, HOUR, True), (HOUR, HOUR + 100, False)],
    ),
    # an activity that runs for an hour is no quiet time
    ([0, 100, HOUR], [(0, HOUR)], [(0, HOUR, False)]),
    # three waits of a day: none of them is most of the whole
    (
        [0, 10, DAY, DAY + 10, 2 * DAY, 2 * DAY + 10, 3 * DAY], [],
        [(0, 10, False), (10, DAY, True), (DAY, DAY + 10, False), (DAY + 10, 2 * DAY, True),
         (2 * DAY, 2 * DAY + 10, False), (2 * DAY + 10, 3 * DAY, True)],
    ),
    # a wait of a day, and one of an hour
    (
        [0, 10, HOUR, HOUR + 10, DAY, DAY + 10], [],
        [(0, 10, False), (10, HOUR, True), (HOUR, HOUR + 10, False),
         (HOUR + 10, DAY, True), (DAY, DAY + 10, False)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("moments", "busy", "wanted"), SCALES)
def test_scale(
    moments: list[int], busy: list[tuple[int, int]], wanted: list[tuple[int, int, bool]]
) -> None:
    scale = make_scale(moments, busy)

    assert [(one.begin_at, one.end_at, one.is_folded) for one in scale.pieces] == wanted
    places = [scale.place(moment) for moment in sorted(moments)]
    assert places == sorted(places)
    assert places[0] == 0
    assert 0.99 < places[-1] <= 1 or moments == [5]


TICKS: list[tuple[int, list[int]]] = [
    # how long          after
    (8, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    (1_000, [0, 200, 400, 600, 800, 1_000]),
    (65_000, [0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]),
    (DAY, [0, 3 * HOUR, 6 * HOUR, 9 * HOUR, 12 * HOUR, 15 * HOUR, 18 * HOUR, 21 * HOUR, DAY]),
]


@pytest.mark.parametrize(("length", "wanted"), TICKS)
def test_ticks_are_round_and_few(length: int, wanted: list[int]) -> None:
    assert [tick.after for tick in make_scale([0, length], []).ticks()] == wanted


@pytest.mark.parametrize("length", [0, 1, 2**62])
def test_no_length_has_many_ticks(length: int) -> None:
    assert len(make_scale([0, length], []).ticks()) <= 10


def picture(steps: list[Step], as_of: int = 0, **created: Any) -> Picture:
    return draw(tell(history(steps, **created)), BEGIN + as_of)


BARS: list[tuple[list[Step], list[tuple[str, int, int]]]] = [
    # steps, of 100 ms in all                        look, begin, end
    (returns(1, 0, 100, 1), [("ok", 0, 100)]),
    (
        [(0, "intended", {"n": 1, "fn": "a", "in": []}),
         (40, "attempt_started", {"n": 1, "try": 1}), (100, "returned", {"n": 1, "ok": 1})],
        [("queued", 0, 40), ("ok", 40, 100)],
    ),
    (
        [(0, "intended", {"n": 1, "fn": "a", "in": [], "try": 1}),
         (20, "attempt_failed", {"n": 1, "try": 1, "error": ERROR, "retry_at": 0}),
         (50, "attempt_started", {"n": 1, "try": 2}),
         (100, "returned", {"n": 1, "error": ERROR})],
        [("failed", 0, 20), ("backoff", 20, 50), ("error", 50, 100)],
    ),
    ([(0, "timer_set", {"n": 1, "wait": 1, "until": 1})], [("wait", 0, 100)]),
    (
        [(0, "child_created", {"n": 1, "id": "e/1", "fn": "c", "in": []})],
        [("child-open", 0, 100)],
    ),
]  # fmt: skip


DIED: list[Step] = [
    (0, "intended", {"n": 1, "fn": "a", "in": [], "try": 1}),
    (20, "timer_set", {"n": 2, "wait": 1, "until": 1}),
    (60, "attempt_started", {"n": 1, "try": 2}),
    (100, "returned", {"n": 1, "ok": 1}),
]


def test_nobody_saw_when_a_process_died() -> None:
    drawn = picture(DIED)

    assert [bar.look for bar in drawn.lanes[0].bars] == ["lost", "fading", "ok"]
    rest, gap = drawn.run[0], drawn.run[-1]
    assert (rest.look, gap.look) == ("run-open", "died")
    assert (round(gap.left, 2), round(gap.right, 2)) == (0.2, 0.6)


def test_what_took_no_time_is_drawn_too() -> None:
    steps = [*returns(1, 0, 0, 1), *returns(2, 0, 100, 1)]

    text = timeline(picture(steps), {1: "one", 2: "two"})

    assert 'width="0.000%"' not in text


@pytest.mark.parametrize(("steps", "wanted"), BARS)
def test_bars_of_a_call(steps: list[Step], wanted: list[tuple[str, int, int]]) -> None:
    [lane] = picture(steps, as_of=100).lanes

    assert [(bar.look, round(100 * bar.left), round(100 * bar.right)) for bar in lane.bars] == (
        wanted
    )


def test_few_calls_have_a_lane_each() -> None:
    steps = [step for n in range(1, LANES_MAX + 1) for step in returns(n, n, n + 1, n)]

    drawn = picture(steps)

    assert [lane.n for lane in drawn.lanes] == list(range(1, LANES_MAX + 1))
    assert drawn.notes == ()


def test_many_calls_share_lanes_and_that_is_said() -> None:
    steps = [step for n in range(1, 200) for step in returns(n, 10 * n, 10 * n + 9, n)]

    [lane] = picture(steps).lanes

    assert (lane.n, lane.calls, lane.name) == (None, 199, "shop.load")
    assert "share lanes" in picture(steps).notes[0]


def test_what_is_not_drawn_is_counted() -> None:
    begun: list[Step] = [
        (n, "intended", {"n": n, "fn": f"m.f{n % 50}", "in": [], "try": 1})
        for n in range(1, 1001)
    ]

    drawn = picture(begun)

    assert len(drawn.lanes) == LANES_MAX
    assert f"{1000 - LANES_MAX} of 1000 calls" in drawn.notes[1]


def test_a_run_that_was_paused_a_thousand_times() -> None:
    steps: list[Step] = []
    for n in range(1000):
        steps += [(10 * n, "paused", {}), (10 * n + 5, "unpaused", {})]

    drawn = picture(steps)

    assert len(drawn.run) <= RUN_MAX + 1
    assert drawn.notes == ("801 pauses, signals and the like are not drawn.",)


def test_a_failure_is_seen_among_thousands() -> None:
    steps = [step for n in range(1, 6_000) for step in returns(n, 2 * n, 2 * n + 1, n)]
    steps[6_001] = (6_003, "returned", {"n": 3_001, "error": ERROR})

    [lane] = picture(steps).lanes

    assert len(lane.bars) <= BARS_MAX
    [red] = [bar for bar in lane.bars if bar.look == "error"]
    assert red.n == 3_001
    assert red.count > 1
    assert sum(bar.count for bar in lane.bars) == 5_999


def test_a_picture_is_bounded_however_long_the_run() -> None:
    drawn = draw(tell(long_run(8_000)), 0)

    assert len(drawn.lanes) <= LANES_MAX
    assert sum(len(lane.bars) for lane in drawn.lanes) <= BARS_MAX
    assert all(0 <= bar.left <= bar.right <= 1 for lane in drawn.lanes for bar in lane.bars)
