"""``obelisk-ops search``: executions in every backup of the bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from obelisk_ops import settings
from obelisk_ops.cli.options import LIMIT, not_together
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.reading import instant, moment, note_if_unknown
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.ports import State
from obelisk_ops.core.words import counted
from obelisk_ops.errors import Unproven, UsageError
from obelisk_ops.objectstore import open_store
from obelisk_ops.restore.source import replica_settings
from obelisk_ops.search import export
from obelisk_ops.search.catalogue import Catalogue, Found, Query
from obelisk_ops.search.refresh import refresh

_RESULTS = ("ok", "error", "cancelled", "timed_out")
_SHOWN = 100


@click.command
@click.option("--state", type=click.Choice([str(s) for s in State]), help="Only this state.")
@click.option("--result", type=click.Choice(_RESULTS), help="Only those that ended so.")
@click.option("--function", help="Only this workflow.")
@click.option("--backup", metavar="NAME", help="Only this backup; * stands for anything.")
@click.option("--since", metavar="WHEN", help="Only those created since, as in '2h ago'.")
@click.option("--until", metavar="WHEN", help="Only those created before.")
@click.option("--error", metavar="TEXT", help="Only those with TEXT in their error.")
@click.option("--input", "given", metavar="TEXT", help="Only those with TEXT in their input.")
@click.option("--sql", metavar="SELECT", help="Ask the catalogue in SQL; see below.")
@click.option(
    "--limit",
    type=LIMIT,
    metavar="N",
    help=f"At most N.  [default: {_SHOWN}; all with -o]",
)
@click.option("--after", metavar="BACKUP/ID", help="Go on behind this one.")
@click.option("--no-refresh", is_flag=True, help="Ask what was read last time, not the bucket.")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write FILE.jsonl or FILE.parquet instead.",
)
@json_option
@click.pass_obj
def search(
    config: Path | None, /, *, sql: str | None, target: Path | None, no_refresh: bool,
    as_json: bool, **filters: Any,  # noqa: ANN401 - as they are named in Query
) -> None:  # fmt: skip
    """
    Find executions in all backups of the bucket, the newest first.

    Only backups that changed since the last time are read, in place. What was read is kept
    in a catalogue in the user's cache. Exit status 4: some could not be read.

    \b
    --sql asks the catalogue. Its tables; times are UTC milliseconds:
      executions  backup, execution_id, function, state, result, created_at,
                  finished_at, parent_id, error, input
      backups     name, epoch, txid, engine, executions, error, read_at
    """  # noqa: D301 - \b is click's
    not_together(output=target, json=as_json)
    if target is not None:
        export.check_target(target)
    query = _query(filters, everything=target is not None)
    if sql is not None and (query != Query(limit=query.limit) or filters["limit"]):
        raise UsageError("--sql says by itself what is looked for", hint="leave filters out")
    place = replica_settings(settings.load(config))
    folder = settings.cache_folder() / "search"
    with Catalogue(folder, f"{place.endpoint or 'AWS'} {place.url}") as catalogue:
        if not no_refresh:
            opener = partial(open_store, place, in_bulk=True)
            with _progress() as progress:
                refresh(opener, place.prefix, catalogue, SystemClock(), progress)
        columns, rows = _answer(catalogue, sql, query)
        failures = catalogue.failures()
        backups, executions = catalogue.counts()
    if no_refresh and not backups and not failures:
        raise Unproven("nothing was read yet", hint="leave out --no-refresh")
    if target is not None:
        export.write(target, columns, rows)
        note(f"{target}: {counted(len(rows), 'row')}")
    elif as_json:
        print_json({
            "executions" if sql is None else "rows": rows,
            "backups": backups,
            "unreadable": [{"name": name, "error": why} for name, why in failures],
        })  # fmt: skip
    else:
        print_table(columns, [tuple(row.values()) for row in rows])
        about = f"{counted(executions, 'execution')} in {counted(backups, 'backup')}"
        note(f"{len(rows)} of {about}" if sql is None else about)
    if failures:
        raise Unproven(
            f"{counted(len(failures), 'backup')} could not be read, so this may not be all: "
            + "; ".join(f"{name}: {why}" for name, why in failures),
            hint=f"see what is wrong with it: obelisk-ops replica verify {failures[0][0]}",
        )


def _query(filters: dict[str, Any], *, everything: bool) -> Query:
    moments: dict[str, Any] = {
        name: None if filters[name] is None else instant(filters[name])
        for name in ("since", "until")
    }
    limit = filters["limit"] or (-1 if everything else _SHOWN)
    named = ("state", "result", "function", "backup", "error", "after")
    return Query(
        **{name: filters[name] for name in named},
        **moments,
        input=filters["given"],
        limit=limit,
    )


def _answer(
    catalogue: Catalogue, sql: str | None, query: Query
) -> tuple[list[str], list[dict[str, Any]]]:
    if sql is not None:
        columns, rows = catalogue.ask(sql)
        return columns, [dict(zip(columns, row, strict=True)) for row in rows]
    found = [_row(one) for one in catalogue.find(query)]
    if not found and query.function is not None:
        note_if_unknown(query.function, catalogue.functions())
    if query.after is not None and not found and not _exists(catalogue, query.after):
        raise UsageError(f"no execution is {query.after!r}", hint="write BACKUP/ID")
    return ["backup", "execution_id", "function", "state", "result", "created_at",
            "finished_at", "parent_id", "error"], found  # fmt: skip


def _exists(catalogue: Catalogue, name: str) -> bool:
    backup, _, execution_id = name.partition("/")
    found = catalogue.find(Query(backup=backup, limit=-1))
    return any(one.execution_id == execution_id for one in found)


def _row(found: Found) -> dict[str, Any]:
    return {
        "backup": found.backup, "execution_id": found.execution_id,
        "function": found.function, "state": found.state, "result": found.result,
        "created_at": moment(found.created_at), "finished_at": moment(found.finished_at),
        "parent_id": found.parent_id, "error": found.error,
    }  # fmt: skip


@contextmanager
def _progress() -> Iterator[Any]:
    """Show how many backups were read, on a terminal."""
    console = Console(stderr=True)
    with Progress(
        "reading backups", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield lambda done, all_of_them: bar.update(task, completed=done, total=all_of_them)
