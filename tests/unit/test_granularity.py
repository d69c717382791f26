"""How close together restore points are, by their age."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.replica.granularity import Band, granularity

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOW = 400 * DAY


def test_the_bands_of_a_database_that_is_written_all_the_time() -> None:
    young = [NOW - n * SECOND for n in range(301)]
    older = [NOW - n * 30 * SECOND for n in range(11, 720)]
    oldest = [NOW - n * HOUR for n in range(7, 25)]

    found = granularity([*older, *oldest, *young], NOW)

    told = [
        (band.until_age_ms, band.points, band.typical_ms, band.longest_ms) for band in found
    ]
    assert told == [
        (5 * MINUTE, 301, SECOND, 30 * SECOND),
        (HOUR, 110, 30 * SECOND, 30 * SECOND),
        (6 * HOUR, 599, 30 * SECOND, HOUR + 30 * SECOND),
        (DAY, 18, HOUR, HOUR),
    ]


def test_rest_is_seen_in_the_longest_alone() -> None:
    times = [NOW - 3 * HOUR + n * SECOND for n in range(10)] + [NOW - 2 * HOUR]

    (band,) = granularity(times, NOW)

    assert (band.typical_ms, band.longest_ms) == (SECOND, HOUR - 9 * SECOND)


def test_few_points_and_strange_clocks() -> None:
    assert granularity([], NOW) == ()
    alone = Band(
        since_age_ms=0, until_age_ms=5 * MINUTE, points=1, typical_ms=None, longest_ms=None
    )
    assert granularity([NOW + DAY], NOW) == (alone,)
    (ancient,) = granularity([0, 0], NOW)
    assert (ancient.since_age_ms, ancient.until_age_ms) == (365 * DAY, None)
    assert (ancient.points, ancient.typical_ms) == (2, 0)


@given(st.lists(st.integers(0, 500 * DAY)))
def test_every_point_is_in_one_band(times: list[int]) -> None:
    found = granularity(times, NOW)

    assert sum(band.points for band in found) == len(times)
    for band in found:
        until = band.until_age_ms if band.until_age_ms is not None else NOW + 1
        inside = [at for at in times if max(band.since_age_ms, 0) < max(NOW - at, 1) <= until]
        assert len(inside) == band.points
