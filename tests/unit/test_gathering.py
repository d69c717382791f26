"""Which turns wait for which barrier: the pure decisions."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from obelisk_ops.core.barrier import read_durability, read_replication
from obelisk_ops.core.gathering import Gathering
from obelisk_ops.errors import ConfigError


def test_what_waits_goes_with_the_barrier_that_was_asked_for_after_its_commit() -> None:
    waiting: Gathering[str] = Gathering()
    waiting.wrote()
    assert not waiting.place("a", {1}, waits=True, now_ms=0)
    assert waiting.begin()
    waiting.wrote()
    assert not waiting.place("b", {2}, waits=True, now_ms=0)
    assert not waiting.begin(), "one is under way"

    assert waiting.passed() == ["a"]
    assert list(waiting) == ["b"]
    assert waiting.begin()
    assert waiting.passed() == ["b"]
    assert waiting.is_safe
    assert not waiting.begin(), "nothing waits"


def test_what_need_not_wait_goes_at_once_unless_its_execution_does() -> None:
    waiting: Gathering[str] = Gathering()
    waiting.wrote()
    assert not waiting.place("a1", {1}, waits=True, now_ms=0)
    assert waiting.begin()
    waiting.wrote()
    assert waiting.place("b", {2}, waits=False, now_ms=0)
    assert not waiting.place("a2", {1}, waits=False, now_ms=0)
    assert not waiting.place("a2 and c", {1, 3}, waits=False, now_ms=0)
    assert waiting.holds(3)
    assert not waiting.holds(2)

    assert waiting.passed() == ["a1", "a2", "a2 and c"]
    assert waiting.is_empty
    assert not waiting.holds(1)


def test_it_needs_no_barrier_of_its_own_behind_one_that_waits() -> None:
    waiting: Gathering[str] = Gathering()
    waiting.wrote()
    waiting.place("a1", {1}, waits=True, now_ms=0)
    waiting.begin()
    waiting.wrote()
    waiting.place("a2", {1}, waits=True, now_ms=0)
    waiting.wrote()
    waiting.place("a3", {1}, waits=False, now_ms=0)

    assert waiting.passed() == ["a1"]
    waiting.begin()
    assert waiting.passed() == ["a2", "a3"]


@pytest.mark.parametrize("commits", [0, 1])
def test_an_answer_about_what_is_safe_already_waits_for_nothing(commits: int) -> None:
    waiting: Gathering[str] = Gathering()
    assert not waiting.place("first", (), waits=True, now_ms=0), "nothing is known yet"
    waiting.begin()
    waiting.passed()
    for _ in range(commits):
        waiting.wrote()

    assert waiting.place("answer", (), waits=True, now_ms=0) is not bool(commits)


def test_a_barrier_that_failed_is_asked_for_again_for_all_that_is_there_by_then() -> None:
    waiting: Gathering[str] = Gathering()
    waiting.wrote()
    waiting.place("a", {1}, waits=True, now_ms=0)
    waiting.begin()
    waiting.wrote()
    waiting.place("b", {2}, waits=True, now_ms=0)
    waiting.failed()

    assert waiting.begin()
    assert waiting.passed() == ["a", "b"]


def test_who_waits_too_long_is_told_in_turn() -> None:
    waiting: Gathering[str] = Gathering()
    assert waiting.next_late_ms(30, 0) is None
    waiting.wrote()
    waiting.place("a", {1}, waits=True, now_ms=0)
    waiting.place("b", {2}, waits=True, now_ms=10)

    assert waiting.next_late_ms(30, 5) == 25
    assert [held.turn for held in waiting.late(30, 30)] == ["a"]
    assert waiting.next_late_ms(30, 30) == 10
    assert [held.turn for held in waiting.late(30, 40)] == ["a", "b"], "others may wait for it"
    assert waiting.next_late_ms(30, 40) == 30


class Course:
    """Random turns and barriers, and what came out of them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.waiting: Gathering[Made] = Gathering()
        self.made: list[Made] = []
        self.seen: list[Made] = []
        self.written, self.safe = 0, -1
        self.asked: int | None = None

    def write(self) -> None:
        self.waiting.wrote()
        self.written += 1
        for _ in range(self.chance.randrange(1, 4)):
            keys = frozenset(self.chance.sample(range(4), self.chance.randrange(1, 3)))
            turn = Made(len(self.made), keys, self.chance.random() < 0.5, self.written)
            self.made.append(turn)
            if self.waiting.place(turn, keys, waits=turn.waits, now_ms=0):
                self.seen.append(turn)

    def begin(self) -> None:
        if self.waiting.begin():
            self.asked = self.written

    def end(self, *, well: bool) -> None:
        if self.asked is not None and well:
            self.safe = self.asked
            self.seen += self.waiting.passed()
        elif self.asked is not None:
            self.waiting.failed()
        self.asked = None

    def step(self) -> None:
        match self.chance.randrange(5):
            case 0:
                self.begin()
            case 1 | 2:
                self.write()
            case how:
                self.end(well=how == 3)


class Made(NamedTuple):
    """A turn: its number, its executions, whether it waits, and its commit."""

    number: int
    keys: frozenset[int]
    waits: bool
    commit: int


@pytest.mark.parametrize("seed", range(50))
def test_turns_of_an_execution_keep_their_order_and_none_goes_too_early(seed: int) -> None:
    course = Course(seed)
    for _ in range(100):
        course.step()
        assert all(turn.commit <= course.safe for turn in course.seen if turn.waits)
    course.end(well=False)
    course.begin()
    course.end(well=True)

    assert course.waiting.is_empty
    for key in range(4):
        of_one = [turn for turn in course.seen if key in turn.keys]
        assert of_one == [turn for turn in course.made if key in turn.keys]


@pytest.mark.parametrize(
    ("given", "wanted"), [(None, "None"), ("local", "False"), ("replicated", "True")]
)
def test_a_durability(given: str | None, wanted: str) -> None:
    assert str(read_durability(given)) == wanted


@pytest.mark.parametrize(
    ("durability", "timeout_s", "on_timeout"),
    [("s3", 30, "fail"), ("local", 0, "fail"), ("local", -1, "wait"), ("local", 30, "hang")],
)
def test_what_makes_no_sense(durability: str, timeout_s: float, on_timeout: str) -> None:
    with pytest.raises(ConfigError):
        read_replication(durability, timeout_s, on_timeout)
