"""``obelisk-ops inspect``: a summary of a database or of a backup; nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from obelisk_ops.cli import hints
from obelisk_ops.cli.confined import confined
from obelisk_ops.cli.databases import is_backup, readable
from obelisk_ops.cli.options import LIMIT, not_together, only_with
from obelisk_ops.cli.others import overview_json, show_executions, show_steps
from obelisk_ops.cli.output import json_option, print_json, print_table
from obelisk_ops.cli.owner import held_back
from obelisk_ops.cli.restore import in_flight_json
from obelisk_ops.core.clock import iso
from obelisk_ops.core.when import Txid, show
from obelisk_ops.core.words import harmless
from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.served import summarise_served
from obelisk_ops.inspect.summary import FailedExecution, Summary
from obelisk_ops.restore.service import Plan
from obelisk_ops.storage import Place, as_address, is_server

_LISTED = 100


@click.command
@click.argument("database", callback=hints.remember_database, metavar="DB")
@click.option("--list", "as_list", is_flag=True, help="The executions of a DBOS or Obelisk DB.")
@click.option("--id", "execution_id", metavar="ID", help="The steps of one of those.")
@click.option("--state", help="With --list: only this state, in the engine's own words.")
@click.option(
    "--limit",
    type=LIMIT,
    help="With --list: the newest so many; 100 without it.",
)
@click.option(
    "--restore",
    "restored",
    is_flag=True,
    help="Restore a backup to a private folder first, and check every page.",
)
@json_option
@click.pass_obj
@confined
def inspect(  # noqa: PLR0913 - what a command line has
    config: Path | None, database: str, *, as_list: bool, execution_id: str | None,
    state: str | None, limit: int | None, restored: bool, as_json: bool,
) -> None:  # fmt: skip
    """
    Summarise DB without changing a byte of it: a path, postgresql://…, or a backup.

    A backup is NAME, NAME@WHEN or s3://bucket/prefix/NAME[@WHEN]. It is read where it is:
    of a large one only what is needed for this is fetched. Of a database that DBOS or
    Obelisk wrote it tells what ran, too; nothing that it holds is run or unpickled.
    """
    not_together(list=as_list, id=execution_id)
    only_with("--list", as_list, state=state, limit=limit)
    if restored and not is_backup(database):
        raise UsageError(f"{database} is a file, no backup", hint="leave --restore out")
    address = as_address(database) if is_server(database) else None
    if isinstance(address, Place):
        if as_list or execution_id or restored:
            raise UsageError(
                "--list, --id and --restore are of files and backups",
                hint="see obelisk-ops execution list --db DB",
            )
        summary = summarise_served(address)
        told = _told(summary, database)
        _hold_back(told["in_flight"], summary, None)
        _print(told, as_json=as_json)
        return
    with readable(database, config, restored=restored) as place:
        if execution_id is not None:
            show_steps(place, execution_id, as_json=as_json)
            return
        if as_list:
            show_executions(place, state=state, limit=limit or _LISTED, as_json=as_json)
            return
        summary = place.summarise()
        told = _told(summary, place.name)
        if place.plan is not None:
            told["backup"] = _origin(place.plan)
        _hold_back(told["in_flight"], summary, None if place.plan else place.name)
    _print(told, as_json=as_json)


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
    else:
        _show(told)


def _origin(plan: Plan) -> dict[str, Any]:
    point = plan.point
    return {
        "name": plan.name, "epoch": point.epoch, "txid": point.txid, "at": iso(plan.at_ms),
    }  # fmt: skip


def _told(summary: Summary, path: str) -> dict[str, Any]:
    last = summary.last_event_ms
    told = {
        "path": path, "kind": summary.kind, "engine": None, "bytes": summary.size,
        "schema_version": summary.schema_version, "epoch": summary.epoch,
        "database_id": summary.database_id,
        "executions": summary.executions, "results": summary.results,
        "functions": summary.functions,
        "failures": [_failure(failed) for failed in summary.failures],
        "in_flight": in_flight_json(summary.in_flight),
        "last_event_at": None if last is None else iso(last),
        "tables": [
            {"name": table.name, "rows": table.rows, "bytes": table.size}
            for table in summary.tables
        ],
        "checks": summary.checks,
    }  # fmt: skip
    return told | overview_json(summary.other) if summary.other else told


def _hold_back(rows: list[dict[str, Any]], summary: Summary, path: str | None) -> None:
    """Add what holds an attempt up that is on record, and has not started; in no backup."""
    calls = [(call.key, call.n) for call in summary.in_flight]
    why = held_back(path, calls) if path else {}
    for row, call in zip(rows, summary.in_flight, strict=False):  # no calls of other engines
        row["held_back"] = why.get((call.key, call.n))


def _failure(failed: FailedExecution) -> dict[str, Any]:
    return {
        "execution_id": failed.execution_id, "function": failed.function,
        "error": {"type": failed.error_type, "message": failed.message},
        "at": None if failed.at_ms is None else iso(failed.at_ms),
    }  # fmt: skip


def _show(told: dict[str, Any]) -> None:
    click.echo(harmless(f"{told['path']}{_point(told)}: {_kind(told)}"))
    if told["kind"] == "other":
        rows = [(table["name"], table["rows"], table["bytes"]) for table in told["tables"]]
        print_table(("table", "rows", "bytes"), rows)
        if told["engine"] is None:
            return
        click.echo()
    print_table(
        ("function", "state", "executions"),
        [
            (function, state, count)
            for function, states in told["functions"].items()
            for state, count in states.items()
        ],
    )
    _show_trouble(told)
    if told["last_event_at"]:
        click.echo(f"last event {told['last_event_at']}")


def _show_trouble(told: dict[str, Any]) -> None:
    if told["failures"]:
        click.echo()
        print_table(
            ("failed", "function", "error", "message", "at"),
            [
                (row["execution_id"], row["function"], row["error"]["type"],
                 row["error"]["message"], row["at"])
                for row in told["failures"]
            ],
        )  # fmt: skip
    if told["in_flight"]:
        click.echo()
        print_table(
            ("in flight", "activity", "attempt", "since"),
            [
                (row["call_id"], row["activity"], row["try"], _since(row))
                for row in told["in_flight"]
            ],
        )


def _since(row: dict[str, Any]) -> str | None:
    why = row.get("held_back")
    return f"waits to start: {why}" if why else row["since"]


def _point(told: dict[str, Any]) -> str:
    origin = told.get("backup")
    if origin is None:
        return ""
    return f" at {show(Txid(origin['txid'], origin['epoch']))}, {origin['at']}"


def _kind(told: dict[str, Any]) -> str:
    size = decimal(told["bytes"])
    if told["kind"] == "other":
        kind = f"database of {told['engine']}" if told["engine"] else "not a workflow database"
        return f"{kind}, {size}"
    # Of a backup its point names the epoch; what the engine has noted may be older.
    epoch = "" if told.get("backup") else f", epoch {told['epoch']}"
    return f"workflow database, schema {told['schema_version'] or 'unknown'}{epoch}, {size}"
