"""``obelisk-ops rollback``: an earlier state in the place of a database, and back again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from obelisk_ops.cli import hints
from obelisk_ops.cli.options import given_rate, not_together, rate_option, with_rate
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.restore import (
    after_json,
    after_rows,
    cost_json,
    cost_rows,
    in_flight_json,
    plan_json,
    plan_rows,
    progress_bar,
    terminated_like_interrupted,
)
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import When
from obelisk_ops.errors import UsageError
from obelisk_ops.settings import load, path_of

if TYPE_CHECKING:
    from obelisk_ops.restore.afterwards import After
    from obelisk_ops.restore.estimate import Estimate
    from obelisk_ops.restore.service import Plan
    from obelisk_ops.supervise.rollback import RolledBack


@click.command
@click.argument("name", callback=hints.remember_name)
@click.option(
    "--at", "moment", metavar="WHEN", help="Which state to go back to, written as for restore."
)
@click.option(
    "--undo", "kept", type=click.Path(path_type=Path), metavar="FILE",
    help="Put back what an earlier rollback has replaced: the file that it printed.",
)  # fmt: skip
@click.option(
    "--apply", "is_applied", is_flag=True, help="Do it; else only say what it would do."
)
@rate_option
@json_option
@click.pass_obj
def rollback(
    config: Path | None, /, name: str, *, moment: str | None, kept: Path | None,
    is_applied: bool, as_json: bool,
) -> None:  # fmt: skip
    """
    Set the database NAME back to an earlier state, in its own place.

    What is there is kept beside it, under a name that is printed with the command that puts it
    back. Refused while an engine, a supervisor or any other program has the database open. The
    next supervisor opens a new epoch from the state that was chosen; old points stay.
    """
    from obelisk_ops.restore import service  # noqa: PLC0415 - boto3 is slow to import
    from obelisk_ops.restore.afterwards import ran_after  # noqa: PLC0415
    from obelisk_ops.restore.estimate import estimate  # noqa: PLC0415
    from obelisk_ops.restore.source import open_source, replica_settings  # noqa: PLC0415
    from obelisk_ops.supervise.rollback import Rollback, refuse_if_held  # noqa: PLC0415

    if (moment is None) == (kept is None):
        raise UsageError("say either --at WHEN or --undo FILE", hint="see rollback --help")
    not_together(undo=kept, rate=given_rate())
    settings, clock = with_rate(load(config)), SystemClock()
    database = path_of(settings, name)
    if kept is not None:
        _undo(config, name, database, kept.absolute(), is_applied=is_applied, as_json=as_json)
        return
    wish = when.parse(moment or "", clock.now_ms())
    refuse_if_held(database)
    source = open_source(replica_settings(settings), name, rate=settings.restore.rate)
    if not is_applied:
        plan = service.make_plan(source, wish, clock)
        service.check_space(plan, database)
        cost = estimate(source, plan, database, clock)
        _show_plan(plan, cost, moment or "", wish, database, as_json=as_json)
        return
    with terminated_like_interrupted(), progress_bar(name) as progress:
        done = Rollback(source, database, clock).run(wish, progress)
    after = ran_after(source, done.restored.plan, database, clock)
    undo = _command(config, name, done.kept)
    _show(done, after, moment or "", wish, undo=undo, as_json=as_json)


def _undo(
    config: Path | None, name: str, database: Path, kept: Path, *, is_applied: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from obelisk_ops.supervise.rollback import (  # noqa: PLC0415 - see above
        read_kept,
        refuse_if_held,
        undo,
    )

    refuse_if_held(database)
    read_kept(name, database, kept)
    told: dict[str, Any] = {"name": name, "path": str(database), "from": str(kept)}
    if not is_applied:
        if as_json:
            print_json(told | {"dry_run": True})
            return
        print_table(
            ("would put back", ""), [("database", name), ("file", database), ("from", kept)]
        )
        note("nothing was changed; add --apply to do it")
        return
    replaced = undo(name, database, kept, SystemClock())
    command = _command(config, name, replaced)
    if as_json:
        print_json(told | {"replaced": {"path": str(replaced)}, "undo": command})
        return
    print_table(("put back", ""), [
        ("database", name), ("file", database), ("from", kept), ("replaced", replaced),
        ("undo", command),
    ])  # fmt: skip


def _command(config: Path | None, name: str, kept: Path) -> str:
    with_config = ["-c", str(config)] if config else []
    words = ["obelisk-ops", *with_config, "rollback", name, "--undo", str(kept), "--apply"]
    return shlex.join(words)


def _show_plan(
    plan: Plan, cost: Estimate, moment: str, wish: When, database: Path, *, as_json: bool
) -> None:
    if as_json:
        print_json(plan_json(plan, moment, wish) | cost_json(plan, cost, database))
        return
    print_table(("would roll back", ""), [
        *plan_rows(plan, moment, wish),
        ("file", f"{database} ({decimal(plan.database_bytes)}), not touched"),
        *cost_rows(plan, cost),
    ])  # fmt: skip
    note("nothing was changed; add --apply to do it")


def _show(
    done: RolledBack, after: After | None, moment: str, wish: When, *, undo: str, as_json: bool
) -> None:
    restored = done.restored
    if as_json:
        print_json(plan_json(restored.plan, moment, wish) | {
            "path": str(restored.path), "bytes": restored.size, "checks": restored.checks,
            "in_flight": in_flight_json(restored.in_flight), "ran_after": after_json(after),
            "replaced": {"path": str(done.kept), "bytes": done.size, "epoch": done.what.epoch,
                         "txid": done.what.txid},
            "undo": undo,
        })  # fmt: skip
        return
    print_table(("rolled back", ""), [
        *plan_rows(restored.plan, moment, wish),
        ("file", f"{restored.path} ({decimal(restored.size)})"),
        ("replaced", f"{done.kept} ({decimal(done.size)})"),
        ("undo", undo),
        *[
            ("in flight", f"{call.execution_id}: {call.activity}, attempt {call.attempt}")
            for call in restored.in_flight
        ],
        *after_rows(after),
    ])  # fmt: skip
    note(
        "what ran after that moment may run again: the engine no longer knows of it; remove "
        "the replaced file when you do not need it any more"
    )
