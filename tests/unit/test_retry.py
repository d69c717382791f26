"""When a failed attempt is tried again, as tables."""

from __future__ import annotations

from datetime import timedelta

import pytest

from obelisk_ops.core.retry import DEFAULT, NEVER, Retry, wait_ms
from obelisk_ops.errors import InvalidInput, NotSerialisable

SECOND = timedelta(seconds=1)
PLAIN = Retry(max_attempts=200, initial=SECOND, maximum=timedelta(minutes=1), jitter=0)

WAITS = [
    # policy                                                        failures  wait
    (PLAIN,                                                              1,   1_000),
    (PLAIN,                                                              2,   2_000),
    (PLAIN,                                                              6,  32_000),
    (PLAIN,                                                              7,  60_000),
    (PLAIN,                                                            199,  60_000),
    (PLAIN,                                                            200,  None),
    (PLAIN,                                                            201,  None),
    (NEVER,                                                              1,  None),
    (Retry(max_attempts=3, initial=SECOND, factor=1, jitter=0),          2,   1_000),
    (Retry(max_attempts=9999, initial=SECOND, factor=1e9, jitter=0),  9998,  60_000),
    (Retry(max_attempts=9999, initial=timedelta(0), factor=1e9),      9998,   0),
    (Retry(max_attempts=3, initial=timedelta(hours=1), jitter=0),        1,  60_000),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "failures", "wait"), WAITS)
@pytest.mark.behaviour("P21")
def test_waits_grow_up_to_the_maximum(policy: Retry, failures: int, wait: int | None) -> None:
    assert wait_ms(policy, failures, ValueError(), 0.5) == wait


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 750), (0.5, 1000), (0.999999, 1250)])
@pytest.mark.behaviour("P21")
def test_jitter_goes_both_ways(draw: float, wait: int) -> None:
    policy = Retry(initial=SECOND, jitter=0.25)

    assert wait_ms(policy, 1, ValueError(), draw) == wait


@pytest.mark.parametrize(("draw", "wait"), [(0.0, 500), (0.5, 1000), (0.999, 1000)])
def test_jitter_makes_no_wait_longer_than_the_maximum(draw: float, wait: int) -> None:
    policy = Retry(initial=SECOND, maximum=SECOND, jitter=0.5)

    assert wait_ms(policy, 1, ValueError(), draw) == wait


class Declined(Exception):
    pass


class StolenCard(Declined):
    pass


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (Declined(), True),
        (StolenCard(), True),
        (ValueError(), False),
        (NotSerialisable("a set of sockets"), True),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.behaviour("O34", "P21")
def test_some_errors_end_an_activity_at_once(error: Exception, is_final: bool) -> None:  # noqa: FBT001
    wait = wait_ms(Retry(give_up_on=(Declined,)), 1, error, 0.5)

    assert (wait is None) is is_final


def test_the_default_gives_up_within_about_two_seconds() -> None:
    waits = [wait_ms(DEFAULT, failures, ValueError(), 1.0) for failures in range(1, 6)]

    assert waits[-1] is None
    assert sum(filter(None, waits)) < 2_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("initial", -SECOND),
        ("factor", 0.5),
        ("maximum", -SECOND),
        ("jitter", 1.1),
        ("jitter", -0.1),
    ],
)
def test_a_policy_without_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=field):
        Retry(**{field: value})  # type: ignore[arg-type]
