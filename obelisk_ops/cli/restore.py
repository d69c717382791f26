"""``obelisk-ops restore``: a new file, or a refusal."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from obelisk_ops import settings
from obelisk_ops.cli.options import rate_option, with_rate
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.durations import format_duration
from obelisk_ops.core.when import At, When
from obelisk_ops.core.words import counted
from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.replica.catalogue import Point
from obelisk_ops.restore import service
from obelisk_ops.restore.afterwards import After, ran_after
from obelisk_ops.restore.estimate import Estimate, estimate
from obelisk_ops.restore.service import Plan, Restored
from obelisk_ops.restore.source import open_source, replica_settings
from obelisk_ops.restore.target import check_target

#: So many attempts are shown to people.
_SHOWN = 10


@click.command
@click.argument("name")
@click.option(
    "--at", "moment", metavar="WHEN", default="latest", show_default=True,
    help="Which state: 2026-11-22T10:00:00Z, '10m ago', latest, txid:236, e0002/txid:236.",
)  # fmt: skip
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path), metavar="PATH",
    help="The file to make; it must not exist.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be restored, and from what.")
@rate_option
@json_option
@click.pass_obj
def restore(
    config: Path | None, name: str, *, moment: str, target: Path, dry_run: bool, as_json: bool
) -> None:
    """Restore the backup NAME to a new file. Nothing that exists is ever overwritten."""
    _check_names(name, target)
    clock = SystemClock()
    wish = when.parse(moment, clock.now_ms())
    target = target.absolute()
    check_target(target)
    loaded = with_rate(settings.load(config))
    source = open_source(replica_settings(loaded), name, rate=loaded.restore.rate)
    if dry_run:
        plan = service.make_plan(source, wish, clock)
        service.check_space(plan, target)
        cost = estimate(source, plan, target, clock)
        _show_plan(plan, cost, moment, wish, target, as_json=as_json)
        return
    with terminated_like_interrupted(), progress_bar(name) as progress:
        done = service.restore(source, wish, target, clock=clock, progress=progress)
    after = ran_after(source, done.plan, done.path, clock)
    _show(done, after, moment, wish, as_json=as_json)


def _check_names(name: str, target: Path) -> None:
    """Refuse what other commands take for a backup, and a target without a name."""
    if "://" in name:
        raise UsageError(
            f"restore takes no URL: {name}",
            hint="give the NAME alone; the configuration says in which bucket it is",
        )
    if "@" in name:
        database, _, moment = name.partition("@")
        hint = shlex.join(["obelisk-ops", "restore", database, "--at", moment or "latest"])
        raise UsageError(f"the moment stands in --at: {name}", hint=f"{hint} --to PATH")
    if target == Path():
        raise UsageError("--to names no file", hint="write --to PATH, a file to make")


def in_flight_json(calls: tuple[InFlight, ...]) -> list[dict[str, Any]]:
    """Return the attempts without an outcome in the form that scripts read."""
    return [
        {
            "execution_id": call.execution_id, "call_id": call.call_id,
            "function": call.function, "activity": call.activity,
            "try": call.attempt, "since": iso(call.since_ms),
        }
        for call in calls
    ]  # fmt: skip


def after_json(after: After | None) -> dict[str, Any] | None:
    """Return what ran after the moment, in the form that scripts read."""
    if after is None:
        return None
    until = after.until
    return {
        "attempts": in_flight_json(after.attempts),
        "until": until and _point_json(until.point, until.at_ms),
        "orphaned": [_point_json(end.point, end.at_ms) for end in after.orphaned],
        "unknown": after.unknown or None,
    }


def _point_json(point: Point, at_ms: int) -> dict[str, Any]:
    return {"epoch": point.epoch, "txid": point.txid, "at": iso(at_ms)}


def after_rows(after: After | None) -> list[tuple[str, str]]:
    """Return the same for people; the first few."""
    if after is None:
        return []
    if after.unknown:
        return [("ran after it", f"not known: {after.unknown}")]
    rows = [
        ("ran after it", f"{call.execution_id}: {call.activity}, attempt {call.attempt}")
        for call in after.attempts[:_SHOWN]
    ]
    if len(after.attempts) > _SHOWN:
        rows.append(("", f"and {len(after.attempts) - _SHOWN} more: see --json"))
    known = [f"{_named(end.point)} ({iso(end.at_ms)}), orphaned" for end in after.orphaned]
    if after.until:
        known.insert(0, f"{iso(after.until.at_ms)}, the newest state in the bucket")
    rows = rows or [("ran after it", "nothing that is on record")]
    return [*rows, *[("", f"known until {words}") for words in known]]


def _show(
    done: Restored, after: After | None, moment: str, wish: When, *, as_json: bool
) -> None:
    told = plan_json(done.plan, moment, wish) | {
        "path": str(done.path), "bytes": done.size, "checks": done.checks,
        "in_flight": in_flight_json(done.in_flight), "ran_after": after_json(after),
    }  # fmt: skip
    if as_json:
        print_json(told)
        return
    checks = ", ".join(f"{name} {outcome}" for name, outcome in done.checks.items())
    print_table(
        ("restored", ""),
        [
            *plan_rows(done.plan, moment, wish),
            ("file", f"{done.path} ({decimal(done.size)})"),
            ("checks", checks),
            *[
                ("in flight", f"{call.execution_id}: {call.activity}, attempt {call.attempt}")
                for call in done.in_flight
            ],
            *after_rows(after),
        ],
    )


def _show_plan(
    plan: Plan, cost: Estimate, moment: str, wish: When, target: Path, *, as_json: bool
) -> None:
    if as_json:
        print_json(plan_json(plan, moment, wish) | cost_json(plan, cost, target))
        return
    print_table(("would restore", ""), [
        *plan_rows(plan, moment, wish),
        ("file", f"{target} ({decimal(plan.database_bytes)}), not written"),
        *cost_rows(plan, cost),
    ])  # fmt: skip


def cost_json(plan: Plan, cost: Estimate, target: Path) -> dict[str, Any]:
    """Return what a dry run tells besides, in the form that scripts read."""
    return {
        "path": str(target),
        "bytes": plan.database_bytes,
        "checks": {},
        "in_flight": [],
        "needed_bytes": cost.needed_bytes,
        "free_bytes": cost.free_bytes,
        "estimate": {
            "seconds": round(cost.seconds, 1),
            "read_bytes_per_second": round(cost.read_per_s),
            "written_bytes_per_second": round(cost.written_per_s),
        },
        "dry_run": True,
    }


def cost_rows(plan: Plan, cost: Estimate) -> list[tuple[str, str]]:
    """Return the same for people."""
    read = f"{decimal(round(cost.read_per_s))}/s"
    reading = (
        f"no more than {read} may be read" if plan.rate else f"the bucket gave {read} just now"
    )
    about = (
        f"about {format_duration(max(1, round(cost.seconds)))}: {reading}, Litestream "
        f"typically writes {decimal(round(cost.written_per_s))}/s"
    )
    return [
        ("from", f"{counted(len(plan.files), 'object')}, {decimal(plan.download_bytes)}"),
        ("room", f"{decimal(cost.needed_bytes)} needed, {decimal(cost.free_bytes)} free"),
        ("time", about),
    ]


def plan_json(plan: Plan, moment: str, wish: When) -> dict[str, Any]:
    """Return what was asked and obtained, and from what, in the form that scripts read."""
    return {
        "name": plan.name, "epoch": plan.point.epoch, "asked": moment,
        "asked_at": iso(wish.at_ms) if isinstance(wish, At) else None,
        "obtained": {"txid": plan.point.txid, "at": iso(plan.at_ms)},
        "orphaned": plan.orphaned
        and _point_json(plan.orphaned, plan.orphaned_at_ms),
        "objects": len(plan.files), "download_bytes": plan.download_bytes,
    }  # fmt: skip


def plan_rows(plan: Plan, moment: str, wish: When) -> list[tuple[str, str]]:
    """Return the same for people."""
    meant = when.show(wish)
    asked = moment if moment == meant else f"{moment} ({meant})"
    rows = [
        ("backup", plan.name),
        ("asked", asked),
        ("obtained", f"{iso(plan.at_ms)} ({_named(plan.point)})"),
    ]
    if plan.orphaned:
        rows += orphaned_rows(plan)
    elif isinstance(wish, At) and plan.at_ms < wish.at_ms:
        rows.append(("", "the newest state that was captured by then"))
    return rows


def orphaned_rows(plan: Plan) -> list[tuple[str, str]]:
    """Return what the history has left behind that is newer, if anything is."""
    if plan.orphaned is None:
        return []
    # Restored by its name only: the newest state does not descend from it.
    left, at = _named(plan.orphaned), iso(plan.orphaned_at_ms)
    return [
        ("", "the newest state by then that the history has kept"),
        ("orphaned", f"{at} ({left}): newer, but the history went on from an older one"),
        ("", f"to get that one: --at {left}"),
    ]


def _named(point: Point) -> str:
    """Write a point so that it can be given to ``--at``."""
    return when.show(when.Txid(point.txid, point.epoch))


@contextmanager
def progress_bar(name: str) -> Iterator[service.Progress]:
    """Show how far a restore is, on a terminal."""
    console = Console(stderr=True)
    with Progress(
        "restoring", BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(name, total=None)
        yield lambda written, expected: bar.update(task, completed=written, total=expected)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM clean up like Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        note("terminated")
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
