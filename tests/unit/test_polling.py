"""How often it is looked where nobody tells: often after something happened, then seldom."""

from __future__ import annotations

from itertools import islice

import pytest

from obelisk_ops.core.polling import MANY, QUICK_S, REST_S, Pace, waits
from obelisk_ops.core.workers import LOOK_MS
from obelisk_ops.durable import claiming


def test_the_same_is_looked_for_ever_more_seldom_up_to_a_second() -> None:
    found = list(islice(waits(), 20))

    assert found[0] == QUICK_S
    assert found == sorted(found)
    assert found[-1] == REST_S
    assert sum(found[:8]) < 1.2, "what comes soon is seen soon"


def asked(pace: Pace, workers: int, for_s: float, happened: int = 0) -> list[float]:
    """Return when one looks that is left alone."""
    now_s, found = 0.0, []
    while now_s < for_s:
        now_s += pace.wait_s
        if pace.looks(happened, workers):
            found.append(now_s)
    return found


@pytest.mark.parametrize("workers", [1, MANY - 1])
def test_a_few_look_every_second_at_rest(workers: int) -> None:
    pace = Pace()
    asked(pace, workers, 30)

    assert len(asked(pace, workers, 10)) == 10


@pytest.mark.parametrize("workers", [MANY, 20])
def test_many_look_no_more_at_rest(workers: int) -> None:
    pace = Pace()
    asked(pace, workers, 30)

    assert asked(pace, workers, 60) == []


def test_when_something_happens_it_is_looked_often_again_within_a_second() -> None:
    pace = Pace()
    asked(pace, 20, 60)

    first, second, *_ = asked(pace, 20, 2, happened=1)

    assert first <= REST_S
    assert second - first == pytest.approx(QUICK_S)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 20])
def test_what_twenty_ask_at_rest_is_less_than_ten_questions_a_second(workers: int) -> None:
    leases = workers / (LOOK_MS / 1000) + workers / claiming._LOOK_S
    besides = workers if workers < MANY else 0  # for letters
    claims = 1 if workers == 1 else 0  # who is not alone with a queue leaves it at that

    assert leases + besides + claims <= 10
