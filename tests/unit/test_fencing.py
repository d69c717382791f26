"""Who may write, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from obelisk_ops.replica.leases import Lease, SeenLease
from obelisk_ops.supervise.fencing import (
    Move,
    Own,
    Rival,
    Sighting,
    guard_ms,
    is_revoked,
    judge_own,
    judge_rival,
    next_move,
    patience_ms,
    renew_every_ms,
    sighted,
)

LEASE = Lease(
    id="a", host="there", boot_id="b", pid=1, ttl_ms=30_000, mark="m3", renewed_at_ms=0
)
SEEN = SeenLease(lease=LEASE, etag="e3", renewed_ms=0)
FIRST_SEEN = Sighting(etag="e3", since_ms=1_000)


@pytest.mark.parametrize("ttl_ms", [1_000, 2_000, 30_000, 600_000])
def test_a_holder_ends_before_anybody_else_begins(ttl_ms: int) -> None:
    assert renew_every_ms(ttl_ms) * 2 < ttl_ms - guard_ms(ttl_ms), "a renewal may fail"
    assert guard_ms(ttl_ms) >= 100, "enough to kill what runs"
    assert patience_ms(ttl_ms) >= ttl_ms + 1_000


@pytest.mark.parametrize(
    ("before", "etag", "since_ms"),
    [
        pytest.param(None, "e3", 5_000, id="for the first time"),
        pytest.param(FIRST_SEEN, "e3", 1_000, id="still the same"),
        pytest.param(FIRST_SEEN, "e4", 5_000, id="renewed"),
    ],
)
def test_since_when_a_lease_is_the_same(
    before: Sighting | None, etag: str, since_ms: int
) -> None:
    assert sighted(before, etag, now_ms=5_000) == Sighting(etag=etag, since_ms=since_ms)


@pytest.mark.parametrize(
    ("seen", "sighting", "now_ms", "rival"),
    [
        pytest.param(None, None, 0, Rival.GONE, id="there is none"),
        pytest.param(None, FIRST_SEEN, 2_000, Rival.GONE, id="there is none any more"),
        pytest.param(SEEN, None, 99_000, Rival.LIVES, id="never seen before"),
        pytest.param(SEEN, FIRST_SEEN, 1_000, Rival.LIVES, id="just seen"),
        pytest.param(SEEN, FIRST_SEEN, 31_000, Rival.LIVES, id="its own time is over"),
        pytest.param(SEEN, FIRST_SEEN, 40_999, Rival.LIVES, id="the margin is not"),
        pytest.param(SEEN, FIRST_SEEN, 41_000, Rival.RUN_OUT, id="nor did it move in that"),
        pytest.param(SEEN, Sighting(etag="e2", since_ms=0), 99_000, Rival.LIVES, id="it moved"),
    ],
)
def test_what_becomes_of_what_another_lease_holds(
    seen: SeenLease | None, sighting: Sighting | None, now_ms: int, rival: Rival
) -> None:
    assert judge_rival(seen, sighting, now_ms=now_ms) is rival


@pytest.mark.parametrize(
    ("read", "own"),
    [
        pytest.param(None, Own.LOST, id="gone, or broken"),
        pytest.param(LEASE, Own.HELD, id="as we wrote it"),
        pytest.param(replace(LEASE, revoked={"x": 1}), Own.HELD, id="others added to it"),
        pytest.param(replace(LEASE, mark="m2"), Own.HELD, id="as we wrote it before"),
        pytest.param(replace(LEASE, mark="m4"), Own.HELD, id="a write without an answer"),
        pytest.param(replace(LEASE, mark="x"), Own.LOST, id="another process writes it"),
    ],
)
def test_whether_our_lease_is_ours(read: Lease | None, own: Own) -> None:
    assert judge_own(read, ["m2", "m3", "m4"]) is own


@pytest.mark.parametrize(
    ("revoked", "claim", "found"),
    [
        pytest.param({}, 1, False, id="nothing was"),
        pytest.param({"other": 9}, 1, False, id="another replica was"),
        pytest.param({"db": 1}, 1, True, id="this claim was"),
        pytest.param({"db": 2}, 1, True, id="a later one was"),
        pytest.param({"db": 1}, 2, False, id="it was claimed again since"),
    ],
)
def test_a_claim_is_revoked_by_its_number(
    revoked: dict[str, int], claim: int, *, found: bool
) -> None:
    assert is_revoked(revoked, "db", claim) is found


@pytest.mark.parametrize(
    ("now_ms", "is_asking", "is_halted", "move"),
    [
        pytest.param(9_999, False, False, Move.WAIT, id="not due"),
        pytest.param(10_000, False, False, Move.RENEW, id="due"),
        pytest.param(10_000, True, False, Move.WAIT, id="under way"),
        pytest.param(26_999, True, False, Move.WAIT, id="time is left"),
        pytest.param(27_000, True, False, Move.HALT, id="no answer in time"),
        pytest.param(27_000, False, False, Move.HALT, id="first things first"),
        pytest.param(99_000, False, True, Move.RENEW, id="then it is tried on"),
        pytest.param(99_000, True, True, Move.WAIT, id="one at a time"),
    ],
)
def test_what_a_holder_does_next(
    now_ms: int, *, is_asking: bool, is_halted: bool, move: Move
) -> None:
    found = next_move(
        now_ms=now_ms, stop_ms=27_000, due_ms=10_000, is_asking=is_asking, is_halted=is_halted
    )
    assert found is move
