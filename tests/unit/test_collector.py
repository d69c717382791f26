"""The garbage collector rests for a burst, and always works again."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from obelisk_ops.durable.collector import MANY, Collector


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.mark.parametrize(("arrivals", "works"), [(0, True), (MANY - 1, True), (MANY, False)])
def test_it_rests_from_many_arrivals_on(arrivals: int, *, works: bool) -> None:
    collector = Collector()
    for _ in range(arrivals):
        collector.arrived()
    assert gc.isenabled() is works
    collector.work()
    assert gc.isenabled()


def test_who_switched_it_off_finds_it_off() -> None:
    collector = Collector()
    gc.disable()
    for _ in range(2 * MANY):
        collector.arrived()
    collector.work()
    assert not gc.isenabled()
