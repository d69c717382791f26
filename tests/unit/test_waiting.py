"""Who may start, and who is next: queues with limits and priorities, as tables and rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops import activity
from obelisk_ops.core.ports import Write
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.work.queues import Queue, parse_queue, read_queues
from obelisk_ops.durable.work.rates import age_ms
from obelisk_ops.durable.work.waiting import Waiting
from obelisk_ops.errors import ConfigError, InvalidInput


@activity
def work() -> None:
    """Do nothing, in a thread."""


@activity
async def work_on_loop() -> None:
    """Do nothing, on the loop."""


class HandClock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def elapsed_ms(self) -> int:
        return self.ms


@dataclass
class Bench:
    """A waiting room, and calls that come, start and end by hand."""

    queues: tuple[Queue, ...] = (Queue("default"),)
    threads: int = 100
    clock: HandClock = field(default_factory=HandClock)
    started: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    functions: dict[str, Activity[Any, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.room: Waiting[str] = Waiting(
            self.queues, self.clock, threads=self.threads, coroutines=1000
        )

    def ask(self, name: str, function: Activity[Any, Any] = work, **options: Any) -> bool:
        """A call wants to start; if it may not it stands in line."""
        self.functions[name] = function.options(**options)
        if self.room.enter(self.functions[name], self.key(name)):
            self.begin(name)
            return True
        self.room.wait(self.functions[name], self.key(name), name)
        return False

    def end(self, name: str) -> None:
        self.running.remove(name)
        self.room.leave(self.functions[name])
        self.fill()

    def fill(self) -> None:
        for name in self.room.admit():
            assert self.room.enter(self.functions[name], self.key(name))
            self.begin(name)

    def begin(self, name: str) -> None:
        self.started.append(name)
        self.running.append(name)
        self.at.append(self.clock.ms)

    def key(self, name: str) -> tuple[int, int]:
        return (1, list(self.functions).index(name))


GPU = Queue("gpu", concurrency=1)


def test_a_queue_runs_no_more_than_its_concurrency_and_goes_in_order() -> None:
    bench = Bench((Queue("gpu", concurrency=2),))

    for name in "abcde":
        bench.ask(name, queue="gpu")
    assert bench.started == ["a", "b"]

    bench.end("b")
    bench.end("a")
    bench.end("c")
    assert bench.started == ["a", "b", "c", "d", "e"]


def test_the_higher_priority_goes_first_and_among_equals_the_older() -> None:
    bench = Bench((GPU,))

    bench.ask("first", queue="gpu")
    for name, priority in [("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)]:
        bench.ask(name, queue="gpu", priority=priority)
    for _ in range(5):
        bench.end(bench.started[-1])

    assert bench.started == ["first", "b", "d", "a", "e", "c"]


def test_who_comes_later_does_not_slip_in_before_the_line() -> None:
    bench = Bench((GPU,))
    bench.ask("a", queue="gpu")
    bench.ask("b", queue="gpu")
    bench.room.leave(bench.functions["a"])

    assert not bench.ask("c", queue="gpu")
    assert bench.ask("d", queue="gpu", priority=1)
    bench.end("d")
    assert bench.started == ["a", "d", "b"]


def test_threads_are_shared_in_turns_by_queues() -> None:
    bench = Bench((Queue("default"), Queue("other")), threads=1)
    bench.ask("first")
    for n in range(4):
        bench.ask(f"default-{n}")
    for n in range(2):
        bench.ask(f"other-{n}", queue="other")

    for _ in range(6):
        bench.end(bench.started[-1])

    kinds = [name.partition("-")[0] for name in bench.started[1:]]
    assert Counter(kinds[:4]) == {"default": 2, "other": 2}


def test_a_line_is_not_starved_by_calls_that_find_a_free_place() -> None:
    bench = Bench(threads=1)
    bench.ask("busy-0")
    bench.ask("waits")
    for n in range(1, 20):
        bench.room.leave(bench.functions[bench.started[-1]])
        bench.ask(f"busy-{n}")
        bench.fill()
        if "waits" in bench.started:
            break

    assert bench.started.index("waits") <= 8


def test_coroutines_do_not_wait_for_threads() -> None:
    bench = Bench(threads=1)
    bench.ask("a")
    assert not bench.ask("b")
    assert not bench.ask("c")

    assert bench.ask("d", work_on_loop)


def test_a_rate_holds_in_any_period() -> None:
    bench = Bench((Queue("api", rate=3, per=timedelta(seconds=1)),))

    for n in range(10):
        bench.ask(f"{n}", queue="api")
        bench.clock.ms += 100
    while len(bench.started) < 10:
        bench.clock.ms += bench.room.opens_in_ms() or 0
        before = len(bench.started)
        bench.fill()
        assert len(bench.started) > before, "it said that somebody may start"

    assert bench.started == [f"{n}" for n in range(10)]
    assert all(b - a >= 1000 for a, b in zip(bench.at, bench.at[3:], strict=False))
    assert bench.at[-1] - bench.at[0] == 3000


def test_a_rate_counts_starts_and_not_what_runs() -> None:
    bench = Bench((Queue("api", rate=1, per=60),))
    bench.ask("a", queue="api")
    bench.ask("b", queue="api")

    bench.end("a")

    assert bench.started == ["a"]
    assert bench.room.opens_in_ms() == 60_000


def test_a_queue_that_is_not_served_waits_and_says_so() -> None:
    bench = Bench()

    assert not bench.ask("a", queue="gpu")
    bench.fill()

    assert bench.started == []
    assert not bench.room.in_line
    assert bench.room.why(bench.key("a")) == "queue 'gpu' is not served by this engine"
    assert bench.ask("b")


def test_a_call_in_line_can_say_what_it_waits_for() -> None:
    bench = Bench((GPU, Queue("api", rate=1, per=60), Queue("default")), threads=3)
    for name, queue in [("a", "gpu"), ("b", "gpu"), ("c", "gpu"), ("d", "api"), ("e", "api")]:
        bench.ask(name, queue=queue)
    bench.ask("f")
    bench.ask("g")

    why = {name: bench.room.why(bench.key(name)) for name in bench.functions}

    assert why == {
        "a": None,
        "b": "all 1 places of queue 'gpu' are taken",
        "c": "all 1 places of queue 'gpu' are taken; 1 before it",
        "d": None,
        "e": "queue 'api' starts 1 each 0:01:00",
        "f": None,
        "g": "all threads are taken",
    }


def test_who_is_dropped_is_not_called() -> None:
    bench = Bench((GPU,))
    for n in range(300):
        bench.ask(f"{n}", queue="gpu")
    for n in range(1, 299):
        bench.room.drop(bench.key(f"{n}"))
    bench.room.drop((99, 99))

    bench.end("0")

    assert bench.started == ["0", "299"]
    assert not bench.room.in_line


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 1), st.booleans()), max_size=60))
def test_whatever_happens_nobody_is_lost_and_no_limit_is_passed(
    moves: list[tuple[int, int, bool]],
) -> None:
    bench = Bench((Queue("a"), Queue("b", concurrency=2), Queue("c", rate=2, per=1)), threads=4)

    for number, (queue, priority, ends) in enumerate(moves):
        bench.clock.ms += 300
        if ends and bench.running:
            bench.end(bench.running[0])
        bench.ask(f"{number}", queue="abc"[queue], priority=priority)
        bench.fill()
        queues = Counter(bench.functions[name].queue for name in bench.running)
        assert len(bench.running) <= 4
        assert queues["b"] <= 2

    for _ in moves:
        bench.clock.ms += 1000
        bench.fill()
        for name in [*bench.running]:
            bench.end(name)
    assert sorted(bench.started) == sorted(bench.functions)
    assert bench.running == []


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("gpu", Queue("gpu")),
        ("gpu=2", Queue("gpu", concurrency=2)),
        ("api=10/1m", Queue("api", rate=10, per=60)),
        ("api=1/1m30s", Queue("api", rate=1, per=90)),
    ],
)
def test_queues_are_read_as_they_are_typed(text: str, queue: Queue) -> None:
    assert parse_queue(text) == queue


@pytest.mark.parametrize("text", ["", "=2", "a=", "a=-1", "a=0", "a=2/", "a=2/5", "a=x/1m"])
def test_what_is_no_queue_is_refused(text: str) -> None:
    with pytest.raises((ConfigError, InvalidInput)):
        parse_queue(text)


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ("gpu", "is no list"),
        (["a", "a"], "'a' is named twice"),
        (["a", lambda: Queue("a")], "'a' is named twice"),
        ([lambda: Queue("two words")], "cannot name a queue"),
        ([lambda: Queue("a", concurrency=0)], "concurrency is a whole number from 1"),
        ([lambda: Queue("a", rate=0.5)], "rate is a whole number from 1"),  # type: ignore[arg-type]
        ([lambda: Queue("a", rate=1, per=0)], "per is at least a millisecond"),
        ([lambda: Queue("a", rate=1, per=-1)], "no duration"),
    ],
)
def test_queues_that_make_no_sense_are_refused(queues: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_queues(
            queues if isinstance(queues, str) else [q() if callable(q) else q for q in queues]
        )


@pytest.mark.parametrize(
    ("by_the_wall", "elapsed", "age"),
    [
        (700, 700, 700),
        (-5000, 700, 0),  # the clock of the wall was set back
        (9000, 700, 700),  # set forward
        (700, -100_000, 700),  # the machine was started again
        (700, 90_000, 700),  # another machine, that has run for longer
        (-1, -1, 0),
    ],
)
def test_how_long_ago_something_was_at_least(by_the_wall: int, elapsed: int, age: int) -> None:
    assert age_ms(by_the_wall, elapsed) == age


def test_a_rate_counts_what_was_started_before_it_and_forgets_what_is_past() -> None:
    clock = HandClock()
    queue = Queue("api", rate=3, per=timedelta(seconds=1))
    room: Waiting[str] = Waiting([queue], clock, threads=9, coroutines=9)
    room.load([("api", clock.ms - 400, clock.ms - 400, 2), ("other", clock.ms, clock.ms, 9)])
    asks = work.options(queue="api")

    assert [room.enter(asks, (1, n)) for n in range(2)] == [True, False]
    first = Write(0, [])
    room.ride(first)
    assert first.starts == [("api", clock.ms, clock.ms, 1)]
    assert (first.starts_gone, room.has_news) == ([], False)

    clock.ms += 600
    assert room.enter(asks, (1, 5))
    second = Write(0, [])
    room.ride(second)
    assert second.starts_gone == [("api", clock.ms - 1000)]
