"""How a supervisor's work ended: what is told of each database, and the exit status."""

from __future__ import annotations

from dataclasses import dataclass, replace

from obelisk_ops.supervise.farewell import PROVEN, UNKNOWN, UNSENT, Farewell
from obelisk_ops.supervise.health import State
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.status import Row, farewell_row, fleet_exit

_LOST_CAUSES = frozenset({State.FATAL, State.FENCED, State.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended: each database, and the exit status they call for."""

    rows: list[Row]
    exit_status: int


def outcome_of(rows: list[Row], farewells: dict[str, Farewell], *, once: bool) -> Outcome:
    """Return how it ended, from what was seen before the stop and left behind by it."""
    left = [_last_row(row, farewells.get(row.name), once=once) for row in rows]
    found = {farewell.exit_status for farewell in farewells.values()}
    # Stopped at once: nobody looked any more.
    found |= {UNKNOWN for row in rows if row.name not in farewells}
    unproven = next((status for status in (UNKNOWN, UNSENT) if status in found), PROVEN)
    verdict = fleet_exit(rows) if once else 0
    return Outcome(rows=left, exit_status=verdict or unproven)


def _last_row(row: Row, farewell: Farewell | None, *, once: bool) -> Row:
    # What was wrong before the stop says more than that it is stopped now.
    is_told = once and (row.state != State.OK or (farewell and farewell.exit_status == PROVEN))
    if farewell is None or is_told:
        return replace(row, pid=None)
    return farewell_row(row, farewell)


def is_done(keeper: Keeper) -> bool:
    """Tell whether waiting changes nothing more: all is proven, or a lost cause."""
    if keeper.is_undecided:
        return False
    if keeper.health.state in _LOST_CAUSES:
        return True
    if keeper.health.reason == "database_not_found":
        return not keeper.path.exists()
    tracker = keeper.tracker
    return keeper.health.state is State.OK and tracker is not None and tracker.is_settled
