"""Alarms ring in time, whatever is done to the clock; with a loop that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from obelisk_ops.durable.alarms import Alarms


class World:
    """A wall clock, the time that really passes, and a loop that waits for it."""

    def __init__(self) -> None:
        self.wall_ms = 1_700_000_000_000
        self.elapsed = 50_000.0
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.rung: list[tuple[str, float]] = []
        self.looks = 0
        self.alarms = Alarms(cast("asyncio.AbstractEventLoop", self), self)

    def now_ms(self) -> int:
        return self.wall_ms

    def elapsed_ms(self) -> int:
        return int(self.elapsed)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        self.timer = (self.elapsed + delay_s * 1000, call)
        return self

    def cancel(self) -> None:
        self.timer = None

    def set(self, name: str, due_in_ms: int, *, since_ms: int = 0) -> None:
        def ring() -> None:
            self.rung.append((name, self.elapsed - 50_000))

        self.alarms.set(name, self.wall_ms + due_in_ms, ring, since_ms=since_ms)

    def pass_time(self, ms: float, *, asleep: bool = False) -> None:
        """Let time pass; the loop's timers stand still while the machine sleeps."""
        end = self.elapsed + ms
        if asleep and self.timer is not None:
            self.timer = (self.timer[0] + ms, self.timer[1])
        while self.timer is not None and self.timer[0] <= end:
            at, call = self.timer
            self.timer = None
            self._move(at)
            self.looks += 1
            call()
        self._move(end)

    def _move(self, to: float) -> None:
        self.wall_ms += round(to - self.elapsed)
        self.elapsed = to


@pytest.fixture
def world() -> World:
    return World()


def test_they_ring_in_their_order_and_in_time(world: World) -> None:
    for name, due in [("c", 90_000), ("a", 10), ("b", 2_500)]:
        world.set(name, due)

    world.pass_time(100_000)

    assert world.rung == [("a", 10), ("b", 2_500), ("c", 90_000)]


def test_what_is_due_already_rings_at_once(world: World) -> None:
    world.set("late", -5_000)

    world.pass_time(0)

    assert world.rung == [("late", 0)]


def test_what_is_due_already_rings_in_the_order_in_which_it_was_due(world: World) -> None:
    """However long it took to set them: as when a commit is slow, or after a crash."""
    for name, due in [("c", 9), ("b", 5), ("a", 1)]:
        world.set(name, due - 20)
        world._move(world.elapsed + 3)
        world.wall_ms -= 3  # the moments meant are those of before

    world.pass_time(10)

    assert [name for name, _ in world.rung] == ["a", "b", "c"]


def test_a_clock_that_is_set_far_forward_lets_all_ring_in_their_order(world: World) -> None:
    for name, due in [("c", 9_000), ("a", 1_000), ("b", 5_000)]:
        world.set(name, due)
    world.wall_ms += 3_600_000

    world.pass_time(1_000)

    assert [name for name, _ in world.rung] == ["a", "b", "c"]


def test_another_replaces_it_and_it_can_be_dropped(world: World) -> None:
    world.set("a", 100)
    world.set("a", 300)
    world.set("b", 200)
    world.alarms.drop("b")
    world.alarms.drop("unknown")

    world.pass_time(1000)

    assert world.rung == [("a", 300)]


def test_a_clock_that_is_set_back_makes_nothing_late(world: World) -> None:
    world.set("before", 5_000)
    world.wall_ms -= 3_600_000
    world.set("after", 6_000)
    world.set("decided before", 3_600_000 + 7_000, since_ms=world.wall_ms + 3_600_000)

    world.pass_time(10_000)

    assert world.rung == [("before", 5_000), ("after", 6_000), ("decided before", 7_000)]


def test_a_clock_that_is_set_forward_is_believed_within_a_second(world: World) -> None:
    world.set("soon", 3_600_000)
    world.set("later", 7_200_000)
    world.pass_time(500)
    world.wall_ms += 3_600_000

    world.pass_time(1_000)

    [(name, at)] = world.rung
    assert name == "soon"
    assert at <= 1_500
    world.pass_time(3_600_000)
    assert [name for name, _ in world.rung] == ["soon", "later"]
    assert world.rung[1][1] == pytest.approx(3_600_000, abs=10)


def test_a_clock_that_jumps_both_ways_rings_each_alarm_once(world: World) -> None:
    for n in range(50):
        world.set(f"{n}", 1_000 * n)
    for jump in (3_000, -90_000, 40, -40, 86_400_000, -86_400_000):
        world.wall_ms += jump
        world.pass_time(1_500)

    world.pass_time(60_000)

    assert sorted(int(name) for name, _ in world.rung) == list(range(50))


def test_the_sleep_of_the_machine_counts(world: World) -> None:
    world.set("a", 60_000)
    world.pass_time(10_000)

    world.pass_time(45_000, asleep=True)
    world.pass_time(6_000)

    [(_, at)] = world.rung
    assert 60_000 <= at <= 61_000


def test_it_looks_once_a_second_and_not_at_all_when_there_is_none(world: World) -> None:
    world.pass_time(100_000)
    assert world.looks == 0

    world.set("a", 100_000)
    world.pass_time(100_000)

    assert 95 <= world.looks <= 105


def test_dropped_ones_do_not_pile_up(world: World) -> None:
    for n in range(10_000):
        world.set(f"{n}", 3_600_000)
        world.alarms.drop(f"{n}")

    assert len(world.alarms._heap) < 200
    assert world.alarms.next_due() is None
