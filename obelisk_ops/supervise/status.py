"""What ``status`` shows of one database: the stable shape of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from obelisk_ops.core.clock import iso
from obelisk_ops.core.words import counted
from obelisk_ops.errors import (
    ClockError,
    CredentialsError,
    Degraded,
    Fenced,
    OpsError,
    Unavailable,
    Unproven,
    VerificationFailed,
)
from obelisk_ops.restore.drill.result import Outcome
from obelisk_ops.supervise.cost import requests_per_day
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.farewell import Farewell
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import EXIT_ORDER, Health, State, exit_status
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.notices import Notice
from obelisk_ops.supervise.ownership import Owner
from obelisk_ops.supervise.tracker import Tracker

DRILL_FAILED = "drill_failed"
NO_SUPERVISOR = "no supervisor runs"

_START = "start one: obelisk-ops supervise"
_WHAT_TO_DO = "what each state means, and what to do: docs/how-to/what-each-state-means.md"
_KINDS: dict[int, type[OpsError]] = {
    kind.exit_status: kind
    for kind in (
        Fenced, CredentialsError, ClockError, VerificationFailed, Unavailable, Unproven,
        Degraded,
    )
}  # fmt: skip

_WELL = frozenset({State.OK, State.STARTING, State.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The moments that can be restored, in ISO 8601."""

    oldest: str | None = None
    newest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One database, as ``status --json`` prints it; None is "not known".

    ``reason`` is the code of the error behind the state, empty if there is none;
    ``notices`` is what somebody should know besides; the rest is explained in the contract.
    """

    name: str
    path: str
    state: str
    reason: str = ""
    rpo_seconds: float | None = None
    unsent_transactions: int | None = None
    unsent_bytes: int | None = None
    local_txid: int | None = None
    replica_txid: int | None = None
    epoch: int | None = None
    owner: str | None = None
    pid: int | None = None
    proven_at: str | None = None
    restorable: Window = Window()
    last_drill: dict[str, Any] | None = None
    requests_per_day: int | None = None
    detail: str = ""
    notices: tuple[Notice, ...] = ()

    @property
    def last_drill_at(self) -> str:
        """When the last drill began; empty without one."""
        return str(self.last_drill["at"]) if self.last_drill else ""

    @property
    def has_failed_drill(self) -> bool:
        """Whether the last drill has disproven its backup."""
        return self.last_drill is not None and self.last_drill["outcome"] == Outcome.FAILED


def row_of(keeper: Keeper, fleet: Fleet) -> Row:
    """Return the present verdict on a database that is looked after."""
    health, tracker, process = keeper.verdict(), keeper.tracker, keeper.process
    occupant = keeper.occupant
    row = replace(
        stopped_row(keeper.name, keeper.path, keeper.owner, detail=_detail(health)),
        state=health.state.value,
        reason=health.reason,
        rpo_seconds=health.rpo_seconds,
        unsent_transactions=health.unsent_transactions,
        unsent_bytes=health.unsent_bytes,
        pid=process.pid if process else None,
        notices=health.notices,
    )
    if occupant is not None:
        row = replace(row, owner=occupant.host, epoch=occupant.epoch)
    if tracker is None:
        return row
    return replace(
        row,
        local_txid=tracker.local.txid if tracker.local else None,
        replica_txid=tracker.remote.txid if tracker.remote else None,
        proven_at=_at(tracker.proven_ms, fleet),
        restorable=restorable(tracker),
        requests_per_day=_requests_per_day(tracker, fleet),
    )


def _at(elapsed_ms: int | None, fleet: Fleet) -> str | None:
    if elapsed_ms is None:
        return None
    return iso(fleet.clock.now_ms() - (fleet.clock.elapsed_ms() - elapsed_ms))


def _detail(health: Health) -> str:
    said = [health.detail, *(notice.text for notice in health.notices)]
    return "; ".join(filter(None, said))


def stopped_row(name: str, path: Path, owner: Owner | None, *, detail: str = "") -> Row:
    """Return what the disk alone tells of a database that nobody looks after."""
    return Row(
        name=name,
        path=str(path),
        state=State.STOPPED.value,
        epoch=owner.epoch if owner else None,
        owner=owner.host if owner else None,
        detail=detail,
    )


def farewell_row(row: Row, farewell: Farewell) -> Row:
    """Return the row of a database whose process was ended."""
    return replace(
        row,
        state=State.STOPPED.value,
        reason="",
        rpo_seconds=0.0 if farewell.exit_status == 0 else None,
        unsent_transactions=farewell.transactions,
        unsent_bytes=farewell.size,
        pid=None,
        detail=farewell.detail,
    )


def with_drill(row: Row, drills: Drillbook | None) -> Row:
    """Return the row with what the last drill has found, if there was one."""
    entry = drills.entry(row.name) if drills else None
    if entry is None:
        return row
    row = replace(row, last_drill=entry.shown)
    if not row.has_failed_drill:
        return row
    text = f"the drill of {row.last_drill_at} failed: {entry.last.detail}"
    notice = Notice(code=DRILL_FAILED, text=text)
    return replace(
        row,
        notices=(*row.notices, notice),
        detail="; ".join(filter(None, (row.detail, text))),
    )


def fleet_exit(rows: Iterable[Row]) -> int:
    """Return the exit status that the databases together call for."""
    found = list(rows)
    is_disproven = any(row.has_failed_drill for row in found)
    drill = VerificationFailed.exit_status if is_disproven else 0
    called_for = {exit_status((row.state, row.reason) for row in found), drill}
    return next((status for status in EXIT_ORDER if status in called_for), 0)


def trouble(rows: Iterable[Row], exit_status: int) -> OpsError | None:
    """Return why databases call for an exit status, the first of them named; None for 0."""
    if not exit_status:
        return None
    concerned = [row for row in rows if fleet_exit([row]) == exit_status]
    if not concerned:
        return Unproven(NO_SUPERVISOR, hint=_START)
    first, *others = concerned
    kind = _KINDS.get(exit_status, OpsError)
    more = f" ({counted(len(others), 'other database')} too)" if others else ""
    said = first.detail or f"it is {first.state}"
    hint = _START if said == NO_SUPERVISOR else _WHAT_TO_DO
    return kind(f"{first.name}: {said}{more}", hint=hint)


def summary(verdicts: Iterable[Health]) -> str:
    """Return one line on all databases: how many are in which state, the worst case named."""
    found = list(verdicts)
    counts = Counter(health.state.value for health in found)
    if not found:
        return "no databases yet"
    listed = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    first = next((health.detail for health in found if health.state not in _WELL), "")
    return f"{counted(len(found), 'database')}: {listed}" + (f"; {first}" if first else "")


def restorable(tracker: Tracker) -> Window:
    """Return the window of moments that can be restored."""
    remote = tracker.remote
    oldest_ms = tracker.scout.oldest_point_ms
    oldest = iso(oldest_ms) if oldest_ms else None
    if remote is None or not remote.txid:
        return Window(oldest=oldest)
    # Listings round down: of a single point the newest must not lie before the oldest.
    return Window(oldest=oldest, newest=iso(max(remote.modified_ms, oldest_ms or 0)))


def _requests_per_day(tracker: Tracker, fleet: Fleet) -> int | None:
    txid = tracker.local.txid if tracker.local else 0
    pace = tracker.account.pace(fleet.clock.elapsed_ms(), txid)
    return requests_per_day(pace, fleet.litestream) if pace else None
