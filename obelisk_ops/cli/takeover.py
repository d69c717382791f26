"""``obelisk-ops takeover``: the database goes on here; its old owner is fenced."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from obelisk_ops.cli.options import rate_option, with_rate
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.restore import (
    in_flight_json,
    orphaned_rows,
    progress_bar,
    terminated_like_interrupted,
)
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import Settings, load, name_of_path

if TYPE_CHECKING:
    from obelisk_ops.restore.service import Plan
    from obelisk_ops.supervise.takeover import Standing, Taken


@click.command
@click.argument("name")
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), metavar="PATH",
    help="Where it goes on: the path that the configuration calls NAME; nothing may be there.",
)  # fmt: skip
@click.option(
    "--at", "moment", metavar="WHEN", default="latest", show_default=True,
    help="Go on from an earlier state, written as for restore.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say who owns it and what would be restored.")
@rate_option
@json_option
@click.pass_obj
def takeover(
    config: Path | None, name: str, *, moment: str, target: Path, dry_run: bool, as_json: bool
) -> None:
    """
    Let the database NAME go on on this machine, in a new epoch.

    Its old owner is told to stop, or its lease runs out; then the newest state is restored
    to PATH. What the old owner still ships is not a part of the new history.
    """
    from obelisk_ops.app import open_takeover  # noqa: PLC0415 - boto3 is slow to import
    from obelisk_ops.supervise.takeover import foresee, left_behind, look  # noqa: PLC0415

    settings, clock = with_rate(load(config)), SystemClock()
    wish = when.parse(moment, clock.now_ms())
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would leave a linked folder
    _check_place(settings, name, target)
    left = left_behind(name, target)  # refuses what is something else
    source, takeover = open_takeover(settings, name, target, tell=_Teller().tell)
    if dry_run:
        standing = look(source)
        plan = foresee(source, wish, target, clock=clock, left=left)
        _show_plan(standing, plan, target, as_json=as_json)
        return
    with terminated_like_interrupted(), progress_bar(name) as progress:
        taken = takeover.run(wish, progress)
    _show(taken, as_json=as_json)


class _Teller:
    """Says each thing once, on stderr."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, words: str) -> None:
        head = words.partition(",")[0]
        if head != self._last:
            note(words)
        self._last = head


def _check_place(settings: Settings, name: str, target: Path) -> None:
    found = name_of_path(settings, target)
    if found == name:
        return
    means = f"calls it '{found}'" if found else "does not know that file"
    raise ConfigError(
        f"{target} cannot go on as '{name}': the configuration {means}",
        hint="give the path of 'databases' that is named so, or add it there",
    )


def _show_plan(standing: Standing, plan: Plan, target: Path, *, as_json: bool) -> None:
    lease = standing.lease
    if as_json:
        print_json({
            "name": plan.name, "dry_run": True, "path": str(target),
            "epoch": standing.marker.epoch + 1,
            "parent": {"epoch": plan.point.epoch, "txid": plan.point.txid},
            "from": {"host": standing.host, "lease": lease.lease.id if lease else None,
                     "renewed_at": iso(lease.renewed_ms) if lease else None},
            "obtained": {"txid": plan.point.txid, "at": iso(plan.at_ms)},
            "bytes": plan.database_bytes,
        })  # fmt: skip
        return
    lives = f"its lease was renewed at {iso(lease.renewed_ms)}" if lease else "holds no lease"
    point = when.show(when.Txid(plan.point.txid, plan.point.epoch))
    print_table(("would take over", ""), [
        ("database", plan.name),
        ("from", f"{standing.host} ({lives})"),
        ("state", f"{iso(plan.at_ms)} ({point})"),
        *orphaned_rows(plan),
        ("new epoch", standing.marker.epoch + 1),
        ("file", f"{target} ({decimal(plan.database_bytes)}), not written"),
    ])  # fmt: skip


def _show(taken: Taken, *, as_json: bool) -> None:
    restored, plan = taken.restored, taken.restored.plan
    if as_json:
        print_json(_told(taken))
        return
    point = when.show(when.Txid(plan.point.txid, plan.point.epoch))
    rows: list[tuple[str, object]] = [
        ("database", plan.name),
        ("from", f"{taken.was.host} ({taken.ended}, after {taken.waited_s:.1f} s)"),
        ("state", f"{iso(plan.at_ms)} ({point})"),
        *orphaned_rows(plan),
        ("new epoch", taken.owner.epoch),
        ("file", f"{restored.path} ({decimal(restored.size)})"),
    ]
    rows += [
        ("may have happened", f"{c.execution_id}: {c.activity}, attempt {c.attempt}")
        for c in restored.in_flight
    ]
    print_table(("took over", ""), rows)
    if restored.in_flight:
        note(
            "the old owner had started these activities, and their outcome is not on record: "
            "they are tried again here unless they are at_most_once"
        )
    note("start its supervisor, if none runs: obelisk-ops supervise")


def _told(taken: Taken) -> dict[str, Any]:
    restored, plan = taken.restored, taken.restored.plan
    return {
        "name": plan.name, "path": str(restored.path), "epoch": taken.owner.epoch,
        "parent": {"epoch": plan.point.epoch, "txid": plan.point.txid},
        "from": {"host": taken.was.host, "ended": taken.ended,
                 "waited_seconds": round(taken.waited_s, 3)},
        "obtained": {"txid": plan.point.txid, "at": iso(plan.at_ms)},
        "bytes": restored.size, "checks": restored.checks,
        "in_flight": in_flight_json(restored.in_flight),
    }  # fmt: skip
