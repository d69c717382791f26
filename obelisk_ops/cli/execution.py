"""``execution``: what runs and ran in a database. Commands that only read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from obelisk_ops.cli import (
    execution_ask,
    execution_diff,
    execution_files,
    execution_output,
    execution_replay,
    execution_report,
)
from obelisk_ops.cli.databases import is_backup
from obelisk_ops.cli.options import LIMIT
from obelisk_ops.cli.output import json_option, print_json, print_table
from obelisk_ops.cli.owner import surroundings
from obelisk_ops.cli.prune import prune
from obelisk_ops.cli.reading import (
    find,
    id_argument,
    instant,
    moment,
    note_if_unknown,
    open_reader_of,
    readable_option,
    summary,
)
from obelisk_ops.core.clock import iso
from obelisk_ops.core.events import Event
from obelisk_ops.core.fold import CallStory, Story, fold
from obelisk_ops.core.ports import Beat, ExecutionFilter, LogReader, State
from obelisk_ops.core.values import to_json
from obelisk_ops.core.why import DETAILS_MAX, Reason, Situation, explain
from obelisk_ops.core.words import harmless, shorten
from obelisk_ops.durable.handle import ending, outcome
from obelisk_ops.durable.supervised import prove
from obelisk_ops.errors import Nondeterminism, NotFinished, UsageError
from obelisk_ops.inspect.situation import situation_of
from obelisk_ops.process import apart
from obelisk_ops.storage import Address, as_address

_POLL_S = 0.05
_PROOF_S = 2.0
_LOOKED_AT = 1000


@click.group()
def execution() -> None:
    """Executions of a database: what they do, why they wait, and asking something of them."""


for command in (
    *execution_ask.COMMANDS,
    *execution_replay.COMMANDS,
    *execution_files.COMMANDS,
    *execution_output.COMMANDS,
    *execution_report.COMMANDS,
    *execution_diff.COMMANDS,
    prune,
):
    execution.add_command(command)


@execution.command("list")
@click.pass_obj
@readable_option
@click.option("--state", type=click.Choice([str(s) for s in State]), help="Only this state.")
@click.option("--function", help="Only this workflow.")
@click.option("--since", metavar="WHEN", help="Only those created since, as in '2h ago'.")
@click.option("--error", metavar="TEXT", help="Only those with TEXT in their error.")
@click.option("--after", metavar="ID", help="Only those created after this one.")
@click.option("--limit", default=100, show_default=True, type=LIMIT, help="At most so many.")
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
    """
    List executions in the order of their creation, the oldest first.

    What was asked for and nobody has begun, 'pending', comes last, in the order in which it
    was asked for.
    """
    since_ms = instant(since) if since else None
    with open_reader_of(config, database) as reader:
        if filters["after"]:
            _ = find(reader, filters["after"], database)
        rows = reader.executions(ExecutionFilter(since=since_ms, **filters))
        listed = [summary(reader, row) for row in rows]
        if not rows and filters["function"]:
            newest = reader.executions(ExecutionFilter(limit=_LOOKED_AT))
            note_if_unknown(filters["function"], {row.function for row in newest})
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
    with open_reader_of(config, database) as reader:
        row = find(reader, execution_id, database)
        log, beats = reader.log(row.key), reader.beats(row.key)
        story = fold(log)
        if any(call.is_in_flight for call in story.calls.values()):
            surroundings(database, Situation(row=row, story=story))  # it may be held back
        lineage = _lineage(story)
        shown = summary(reader, row) | {
            "input": story.input,
            "value": story.value,
            "attempts": [_attempts(call, beats.get(call.n)) for call in _activities(story)],
            "waiting_for": _waiting_for(story),
            "safe_version": None if is_backup(database) else _safe(as_address(database), log),
        }
    if as_json:
        print_json(shown | lineage)
        return
    shown |= {name: whence for name, whence in lineage.items() if whence is not None}
    calls = shown.pop("attempts")
    print_table(("field", "value"), [(k, _as_text(v)) for k, v in shown.items()])
    if calls:
        print_table(
            ("call", "activity", "attempts", "outcome", "last error", "last heartbeat"),
            [
                (c["n"], c["function"], c["attempts"], c["outcome"], c["error"],
                 _as_words(c["heartbeat"]))
                for c in calls
            ],
        )  # fmt: skip


@execution.command()
@id_argument
@click.pass_obj
@readable_option
@click.option("--after", default=-1, metavar="VERSION", help="Only later events.")
@click.option("--limit", type=LIMIT, help="At most so many.")
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
    with open_reader_of(config, database) as reader:
        log = reader.log(find(reader, execution_id, database).key)
        chosen = [event for event in log if event.version > after][:limit]
        bodies = [msgspec.json.decode(e.body, type=dict) for e in chosen if as_json]
    if as_json:
        shown = [
            {"version": e.version, "at": iso(e.at), "kind": e.kind} | body
            for e, body in zip(chosen, bodies, strict=True)
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
    if wait_s is not None and is_backup(database):
        raise UsageError(
            f"{database} is a backup, which does not go on", hint="leave --wait out"
        )
    with open_reader_of(config, database, follow=wait_s is not None) as reader:
        if wait_s is not None:
            apart.lift()  # it may take days
            limit_s = None if wait_s < 0 else wait_s
            asyncio.run(_wait(reader, execution_id, database, limit_s))
        row = find(reader, execution_id, database)
        if row.state is State.PARKED:
            raise Nondeterminism(
                row.error or f"execution {execution_id!r} is parked",
                hint="undo the change of the workflow's code and start its worker again",
            )
        if row.key < 0:
            raise NotFinished(
                f"execution {execution_id!r} was asked for, and no worker has begun it",
                hint="start one: obelisk-ops worker TARGET --db DB",
            )
        if row.state is not State.FINISHED:
            raise NotFinished(
                f"execution {execution_id!r} is {row.state}",
                hint=f"see obelisk-ops execution why {execution_id} --db DB",
            )
        value = outcome(ending(reader.last(row.key)), None)
    print_json(msgspec.Raw(to_json(value)))


@execution.command()
@id_argument
@click.pass_obj
@readable_option
@json_option
def why(config: Path | None, execution_id: str, database: str, *, as_json: bool) -> None:
    """
    Say what an execution waits for, the deepest reason first, and what to type.

    An activity that runs or is tried again, a slot of a queue, a timer, a signal or a
    result from outside, a child workflow with its own reasons; or that it is paused,
    parked, not served, or that no process owns the database.
    """
    with open_reader_of(config, database) as reader:
        row = find(reader, execution_id, database)
        asked = situation_of(reader, row)
    reasons = explain(asked, surroundings(database, asked))
    if as_json:
        print_json(
            {"execution_id": row.id, "state": row.state, "reasons": [_told(r) for r in reasons]}
        )
        return
    for reason in reasons:
        where = "" if reason.execution_id == row.id else f"{reason.execution_id}: "
        number = "" if reason.n is None else f"call {reason.n}, "
        click.echo(harmless(f"{where}{number}{reason.text}"))
        if reason.command:
            click.echo(harmless(f"    {reason.command}"))


def _safe(database: Address, log: Sequence[Event]) -> int | None:
    """Return the version up to which a log is proven to be in the bucket, if it is."""
    return log[-1].version if asyncio.run(prove(database, _PROOF_S)) else None


def _told(reason: Reason) -> dict[str, Any]:
    return {
        "execution_id": reason.execution_id,
        "kind": reason.kind,
        "text": reason.text,
        "n": reason.n,
        "function": reason.function,
        "attempt": reason.attempt,
        "since": moment(reason.since),
        "until": moment(reason.until),
        "error": reason.error,
        "command": reason.command,
        "heartbeat": _heartbeat(reason.heartbeat),
    }


async def _wait(
    reader: LogReader, execution_id: str, database: str, limit_s: float | None
) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not _has_ended(reader, execution_id, database):  # noqa: ASYNC110 - a file
                await asyncio.sleep(_POLL_S)


def _has_ended(reader: LogReader, execution_id: str, database: str) -> bool:
    return find(reader, execution_id, database).state in (State.FINISHED, State.PARKED)


def _activities(story: Story) -> list[CallStory]:
    return [call for call in story.calls.values() if call.kind == "activity"]


def _lineage(story: Story) -> dict[str, Any]:
    return {
        "forked_from": story.forked_from,
        "continues": story.continues,
        "continued_as": story.continued_as,
        "schedule_id": story.schedule_id,
    }


def _attempts(call: CallStory, beat: Beat | None) -> dict[str, Any]:
    error = f"{call.error['type']}: {call.error['message']}" if call.error else None
    return {
        "n": call.n,
        "function": call.function,
        "attempts": call.attempts,
        "outcome": call.outcome,
        "in_flight": call.is_in_flight,
        "retry_at": moment(call.retry_at),
        "error": error,
        "heartbeat": _heartbeat(beat),
    }


def _heartbeat(beat: Beat | None) -> dict[str, Any] | None:
    if beat is None:
        return None
    details = msgspec.json.decode(beat.body)
    return {"attempt": beat.attempt, "at": iso(beat.at), "details": details}


def _as_words(heartbeat: dict[str, Any] | None) -> str | None:
    if heartbeat is None:
        return None
    at, details = heartbeat["at"], heartbeat["details"]
    more = "" if details is None else f" {shorten(to_json(details).decode(), DETAILS_MAX)}"
    return f"{at}{more}"


def _waiting_for(story: Story) -> list[dict[str, Any]]:
    if story.has_ended:
        return []
    return [
        {"n": call.n, "kind": call.kind, "function": call.function,
         "until": moment(call.due or None)}
        for call in story.calls.values() if call.outcome is None
    ]  # fmt: skip


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else to_json(value).decode()
