"""The restore points of a span of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from obelisk_ops.replica.catalogue import LtxFile, Point, build
from obelisk_ops.replica.window import within


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=8).map(sorted), min_size=1, max_size=3),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 50),
)
def test_the_points_whose_times_lie_inside(
    times: list[list[int]], since: int | None, until: int | None
) -> None:
    files = {
        epoch: [
            LtxFile(epoch=epoch, level=0, min_txid=n, max_txid=n, key=f"{epoch}/{n}", size=200,
                    modified_ms=0)
            for n in range(1, len(captured) + 1)
        ]
        for epoch, captured in enumerate(times, 1)
    }  # fmt: skip
    replica = build("run", files, [])

    def at_of(point: Point) -> int:
        return times[point.epoch - 1][point.txid - 1]

    found = within(replica, since_ms=since, until_ms=until, at_of=at_of)

    low, high = since if since is not None else 0, until if until is not None else 50
    assert list(found) == [point for point in replica.points if low <= at_of(point) <= high]
