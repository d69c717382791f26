"""How fast a backup may be read, as tables and on a clock of the test."""

from __future__ import annotations

import pytest

from obelisk_ops.restore.pace import Pace, part_bytes, reserve

MIB = 1 << 20


class Hand:
    """A clock that goes on while somebody waits."""

    def __init__(self) -> None:
        self.at_ms = 5_000.0

    def now_ms(self) -> int:
        raise NotImplementedError

    def elapsed_ms(self) -> int:
        return round(self.at_ms)

    def wait(self, seconds: float) -> None:
        self.at_ms += seconds * 1000


@pytest.mark.parametrize(
    ("paid_ms", "begins_ms", "next_ms"),
    [
        pytest.param(0, 1000, 2000, id="nothing was read of late"),
        pytest.param(1000, 1000, 2000, id="all is paid"),
        pytest.param(1700, 1700, 2700, id="after what was begun before"),
        pytest.param(9000, 9000, 10_000, id="after all others"),
    ],
)
def test_when_it_may_be_read(paid_ms: float, begins_ms: float, next_ms: float) -> None:
    assert reserve(paid_ms, now_ms=1000, size=500, per_s=500) == (begins_ms, next_ms)


@pytest.mark.parametrize(
    ("per_s", "size"),
    [(None, MIB), (50 * MIB, MIB), (200 << 10, 200 << 10), (1 << 10, 16 << 10)],
)
def test_what_is_read_at_once(per_s: int | None, size: int) -> None:
    assert part_bytes(per_s) == size


def test_in_no_time_much_more_is_read_than_may_be() -> None:
    hand = Hand()
    pace = Pace(100, hand, hand.wait)
    began, taken = list[float](), 0
    for size in (100, 50, 10, 200, 100, 1, 99):
        pace.take(size)
        began.append(hand.at_ms)
        taken += size
        if len(began) == 4:
            hand.wait(60)  # what was not read meanwhile is not read later at once

    assert began[:4] == [5_000, 6_000, 6_500, 6_600]
    assert began[4:] == [66_600, 67_600, 67_610]
    assert taken == 560
