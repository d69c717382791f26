"""``execution``: what runs and ran in a database, and asking for more of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from obelisk_ops.cli.databases import readable
from obelisk_ops.cli.output import json_option, print_json, print_table
from obelisk_ops.cli.run import TakesJson, database_option, target_argument
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.fold import CallStory, Story, fold
from obelisk_ops.core.ports import ExecutionFilter, LogReader, State, StateRow
from obelisk_ops.core.values import to_json
from obelisk_ops.core.when import At, parse
from obelisk_ops.durable.engine import Engine, read_json_input
from obelisk_ops.durable.handle import outcome
from obelisk_ops.durable.loader import load_workflow
from obelisk_ops.errors import ExecutionNotFound, InvalidWhen, Nondeterminism, NotFinished
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.storage import open_reader

_POLL_S = 0.05
_READ_S = 60.0

id_argument = click.argument("execution_id", metavar="ID")
readable_option = click.option(
    "--db", "database", required=True, metavar="DB",
    help="A file, or a backup: NAME, NAME@WHEN, s3://…",
)  # fmt: skip


@click.group()
def execution() -> None:
    """Executions of a database: list, show, events, result, submit."""


@execution.command("list")
@click.pass_obj
@readable_option
@click.option("--state", type=click.Choice([str(s) for s in State]), help="Only this state.")
@click.option("--function", help="Only this workflow.")
@click.option("--since", metavar="WHEN", help="Only those created since, as in '2h ago'.")
@click.option("--error", metavar="TEXT", help="Only those with TEXT in their error.")
@click.option("--after", metavar="ID", help="Only those created after this one.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="At most so many."
)
@json_option
def list_(
    config: Path | None,
    /,
    database: str,
    since: str | None,
    *,
    as_json: bool,
    **filters: Any,  # noqa: ANN401 - the fields of ExecutionFilter
) -> None:
    """List executions in the order of their creation."""
    since_ms = _instant(since) if since else None
    with _reader(config, database) as reader:
        if filters["after"]:
            _find(reader, filters["after"], database)
        rows = reader.executions(ExecutionFilter(since=since_ms, **filters))
        listed = [_summary(reader, row) for row in rows]
    if as_json:
        print_json({"executions": listed})
        return
    columns = ("id", "function", "state", "result", "created", "finished", "error")
    print_table(
        columns,
        [
            (
                e["execution_id"], e["function"], e["state"], e["result"], e["created_at"],
                e["finished_at"], e["error"],
            )
            for e in listed
        ],
    )  # fmt: skip


@execution.command()
@id_argument
@click.pass_obj
@readable_option
@json_option
def show(config: Path | None, execution_id: str, database: str, *, as_json: bool) -> None:
    """Show one execution: input, value, attempts, and what it waits for."""
    with _reader(config, database) as reader:
        row = _find(reader, execution_id, database)
        story = fold(reader.log(row.key))
        shown = _summary(reader, row) | {
            "input": story.input,
            "value": story.value,
            "attempts": [_attempts(call) for call in _activities(story)],
            "waiting_for": _waiting_for(story),
        }
    if as_json:
        print_json(shown)
        return
    calls = shown.pop("attempts")
    print_table(("field", "value"), [(k, _as_text(v)) for k, v in shown.items()])
    if calls:
        print_table(
            ("call", "activity", "attempts", "outcome", "last error"),
            [(c["n"], c["function"], c["attempts"], c["outcome"], c["error"]) for c in calls],
        )


@execution.command()
@id_argument
@click.pass_obj
@readable_option
@click.option("--after", default=-1, metavar="VERSION", help="Only later events.")
@click.option("--limit", type=click.IntRange(1), help="At most so many.")
@json_option
def events(
    config: Path | None,
    execution_id: str,
    database: str,
    after: int,
    limit: int | None,
    *,
    as_json: bool,
) -> None:
    """Print the log of one execution, oldest event first."""
    with _reader(config, database) as reader:
        log = reader.log(_find(reader, execution_id, database).key)
    chosen = [event for event in log if event.version > after][:limit]
    if as_json:
        shown = [
            {"version": e.version, "at": iso(e.at), "kind": e.kind}
            | msgspec.json.decode(e.body)
            for e in chosen
        ]
        print_json({"execution_id": execution_id, "events": shown})
    else:
        rows = [(e.version, iso(e.at), e.kind, e.body) for e in chosen]
        print_table(("version", "at", "event", "body"), rows)


@execution.command()
@id_argument
@click.pass_obj
@readable_option
@click.option(
    "--wait", "wait_s", is_flag=False, flag_value=-1.0, default=None, type=float,
    metavar="[SECONDS]", help="Wait for the end, at most so long if a number is given.",
)  # fmt: skip
@json_option
def result(
    config: Path | None,
    execution_id: str,
    database: str,
    wait_s: float | None,
    *,
    as_json: bool,  # noqa: ARG001 - the value is JSON in any case
) -> None:
    """Print the value of a finished execution as one line of JSON."""
    with _reader(config, database, follow=wait_s is not None) as reader:
        if wait_s is not None:
            limit_s = None if wait_s < 0 else wait_s
            asyncio.run(_wait(reader, execution_id, database, limit_s))
        row = _find(reader, execution_id, database)
        if row.state is State.PARKED:
            raise Nondeterminism(
                row.error or f"execution {execution_id!r} is parked",
                hint="undo the change of the workflow's code and start its worker again",
            )
        if row.state is not State.FINISHED:
            raise NotFinished(
                f"execution {execution_id!r} is {row.state}",
                hint="wait for it: obelisk-ops execution result ID --wait",
            )
        value = outcome(reader.log(row.key), None)
    print_json(msgspec.Raw(to_json(value)))


@execution.command(cls=TakesJson)
@target_argument
@click.argument("values", nargs=-1, metavar="[JSON]...")
@database_option
@click.option("--id", "execution_id", help="The execution's id; drawn if left out.")
@json_option
def submit(
    target: str,
    values: tuple[str, ...],
    database: str,
    execution_id: str | None,
    as_json: bool,  # noqa: ARG001, FBT001 - the answer is JSON in any case
) -> None:
    """
    Ask the owner of a database to run a workflow, and return at once.

    Prints one line of JSON: the id, and whether it is new. The request is durable when
    the command returns, also while no worker runs.
    """
    function = load_workflow(target)
    text = read_json_input(function, list(values))

    async def ask() -> tuple[str, bool]:
        async with Engine(database, serve=False) as engine:
            handle = await engine.submit_json(function, text, execution_id=execution_id)
            return handle.id, handle.created

    name, created = asyncio.run(ask())
    print_json({"execution_id": name, "created": created})


def _instant(text: str) -> int:
    moment = parse(text, SystemClock().now_ms())
    if not isinstance(moment, At):
        raise InvalidWhen(f"{text!r} is no moment", hint="write a time, or '2h ago'")
    return moment.at_ms


@contextmanager
def _reader(config: Path | None, database: str, *, follow: bool = False) -> Iterator[LogReader]:
    """Open a database to read: without a trace, or with *follow* as its owner goes on."""
    with readable(database, config) as (path, _origin):
        if follow:
            with closing(open_reader(path)) as reader:
                yield reader
        else:
            with open_read_only(path, limit_s=_READ_S) as connection:
                yield open_reader(path, connection)


def _find(reader: LogReader, execution_id: str, database: str) -> StateRow:
    # Letters first: one that is answered meanwhile has become an execution.
    waits = any(letter.target == execution_id for letter in reader.letters(-1))
    row = reader.find(execution_id)
    if row is not None:
        return row
    if waits:
        raise NotFinished(
            f"execution {execution_id!r} was asked for, and no worker has begun it",
            hint=f"start one: obelisk-ops worker TARGET --db {database}",
        )
    raise ExecutionNotFound(
        f"{database} has no execution {execution_id!r}",
        hint=f"see what there is: obelisk-ops execution list --db {database}",
    )


async def _wait(
    reader: LogReader, execution_id: str, database: str, limit_s: float | None
) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not _has_ended(reader, execution_id, database):  # noqa: ASYNC110 - a file
                await asyncio.sleep(_POLL_S)


def _has_ended(reader: LogReader, execution_id: str, database: str) -> bool:
    try:
        return _find(reader, execution_id, database).state in (State.FINISHED, State.PARKED)
    except NotFinished:
        return False


def _summary(reader: LogReader, row: StateRow) -> dict[str, Any]:
    return {
        "execution_id": row.id,
        "function": row.function,
        "state": row.state,
        "result": row.result,
        "created_at": iso(row.created_at),
        "finished_at": iso(row.finished_at) if row.finished_at is not None else None,
        "parent_id": reader.get(row.parent).id if row.parent is not None else None,
        "error": row.error,
    }


def _activities(story: Story) -> list[CallStory]:
    return [call for call in story.calls.values() if call.kind == "activity"]


def _attempts(call: CallStory) -> dict[str, Any]:
    error = f"{call.error['type']}: {call.error['message']}" if call.error else None
    return {
        "n": call.n,
        "function": call.function,
        "attempts": call.attempts,
        "outcome": call.outcome,
        "in_flight": call.is_in_flight,
        "retry_at": iso(call.retry_at) if call.retry_at is not None else None,
        "error": error,
    }


def _waiting_for(story: Story) -> list[dict[str, Any]]:
    if story.has_ended:
        return []
    return [
        {"n": call.n, "kind": call.kind, "function": call.function,
         "until": iso(call.due) if call.due is not None else None}
        for call in story.calls.values() if call.outcome is None
    ]  # fmt: skip


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else to_json(value).decode()
