"""The garbage collector rests for a burst, and works again soon."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from obelisk_ops.durable import collector as module
from obelisk_ops.durable.collector import MANY, REST_S, RESTS_MAX, Collector


class Loop:
    """Rings when it is told to."""

    def __init__(self) -> None:
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, wait_s: float, call: Callable[[], None]) -> Loop:
        self.alarms.append((wait_s, call))
        return self

    def cancel(self) -> None:
        self.alarms.clear()

    def ring(self) -> None:
        [(_, call)] = self.alarms
        self.alarms.clear()
        call()


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.fixture
def loop() -> Any:
    return cast("Any", Loop())


def arrive(collector: Collector, count: int) -> None:
    for _ in range(count):
        collector.arrived()


@pytest.mark.parametrize(("arrivals", "rests"), [(0, []), (MANY - 1, []), (MANY, [REST_S])])
def test_it_rests_from_many_arrivals_on(loop: Any, arrivals: int, rests: list[float]) -> None:
    arrive(Collector(loop), arrivals)
    assert gc.isenabled() is not bool(rests)
    assert [wait_s for wait_s, _ in loop.alarms] == rests
    for _, ring in list(loop.alarms):
        ring()
    assert gc.isenabled()


def test_arrivals_of_several_rounds_are_no_burst(loop: Any) -> None:
    collector = Collector(loop)
    for _ in range(3):
        arrive(collector, MANY - 1)
        collector.round_begins()
    assert gc.isenabled()


def test_it_rests_as_long_as_the_burst_goes_on(loop: Any) -> None:
    collector = Collector(loop)
    arrive(collector, MANY)
    for _ in range(3):
        collector.round_begins()
        arrive(collector, MANY)
        loop.ring()
        assert not gc.isenabled()
    loop.ring()
    assert gc.isenabled()


def test_of_a_burst_that_does_not_end_it_gets_its_turn(loop: Any) -> None:
    collector = Collector(loop)
    rings = 0
    collector.arrived(MANY)
    while not gc.isenabled():
        collector.round_begins()
        collector.arrived(MANY)
        loop.ring()
        rings += 1
    assert rings == RESTS_MAX


def test_it_works_once_much_is_made_and_kept(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector(loop)
    collector.arrived(MANY)
    monkeypatch.setattr(module, "OBJECTS_MAX", gc.get_count()[0] + 100)
    kept: list[list[int]] = [[] for _ in range(200)]
    loop.ring()
    assert gc.isenabled()
    assert kept


def test_an_engine_that_is_closed_leaves_it_at_work(loop: Any) -> None:
    collector = Collector(loop)
    arrive(collector, MANY)
    collector.work()
    assert gc.isenabled()
    assert not loop.alarms


def test_who_switched_it_off_finds_it_off(loop: Any) -> None:
    gc.disable()
    collector = Collector(loop)
    arrive(collector, MANY)
    collector.work()
    assert not gc.isenabled()
