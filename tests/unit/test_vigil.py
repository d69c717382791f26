"""Staying awake for an answer: as long as it pays, and hardly ever where it does not."""

from __future__ import annotations

import pytest

from obelisk_ops.storage.postgres.vigil import AWAKE_US, PUSHED_US, Vigil


class Looking:
    """A clock, and looks that take time by it; the one of a number finds the answer."""

    def __init__(self, found: int | None, *took_us: int) -> None:
        self.now_us = 0
        self._found, self._took_us = found, took_us
        self.begin_anew()

    def begin_anew(self) -> None:
        self.looks = 0
        self._took = iter(self._took_us)

    def look(self) -> list[int]:
        self.looks += 1
        self.now_us += next(self._took, 1)
        return [1] if self.looks == self._found else []


@pytest.mark.parametrize(
    ("looking", "is_seen", "looks", "pays"),
    [
        (Looking(1), True, 1, True),
        (Looking(200), True, 200, True),
        (Looking(None), False, AWAKE_US, False),
        (Looking(None, 1, PUSHED_US), False, 2, False),
        (Looking(2, 1, PUSHED_US), True, 2, False),
        (Looking(2, PUSHED_US - 1, PUSHED_US - 1), True, 2, True),
    ],
    ids=["at once", "soon", "late", "pushed away", "found after a push", "slow looks"],
)
def test_it_ends_with_the_answer_or_when_there_is_no_sense_in_it(
    looking: Looking,
    is_seen: bool,  # noqa: FBT001
    looks: int,
    pays: bool,  # noqa: FBT001
) -> None:
    vigil = Vigil(lambda: looking.now_us)

    for _ in range(2):
        looking.begin_anew()
        assert vigil.sees(looking.look) is is_seen
        assert looking.looks == looks

    vigil.sees(looking.look)
    assert (looking.looks > looks) is pays


def kept(vigil: Vigil, clock: Looking, answers: int) -> int:
    """Return for how many of these answers, all of which come late, it is awake."""
    count = 0
    for _ in range(answers):
        before = clock.looks
        vigil.sees(clock.look)
        count += clock.looks > before
    return count


def test_where_it_never_pays_it_is_tried_for_one_answer_in_sixty_four() -> None:
    clock = Looking(None)
    vigil = Vigil(lambda: clock.now_us)

    assert kept(vigil, clock, 2 * 63) == 2 * 6
    assert kept(vigil, clock, 3 * 2 * 64) == 3 * 2


def test_one_answer_that_comes_late_says_little_of_the_next() -> None:
    clock = Looking(None)
    vigil = Vigil(lambda: clock.now_us)

    for _ in range(100):
        assert kept(vigil, clock, 1) == 1
        assert vigil.sees(lambda: True)


def test_where_it_pays_again_it_is_soon_done_for_all_again() -> None:
    clock = Looking(None)
    vigil = Vigil(lambda: clock.now_us)
    kept(vigil, clock, 4096)

    for _ in range(2 * 64):
        vigil.sees(lambda: True)
    assert all(vigil.sees(lambda: True) for _ in range(100))
