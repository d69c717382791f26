"""``schedule``: workflows that start at certain times, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from click.shell_completion import CompletionItem
from msgspec import Raw

from obelisk_ops.cli import stdout
from obelisk_ops.cli.options import LIMIT
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.reading import moment, offered, open_reader_of, readable_option
from obelisk_ops.cli.run import TakesJson, database_option, target_argument
from obelisk_ops.core import cron, ids, schedules
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.cron import Spec
from obelisk_ops.core.durations import format_duration, parse_duration
from obelisk_ops.core.ports import LogReader, State
from obelisk_ops.core.rows import ALL, CronRow
from obelisk_ops.core.values import to_json
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.flow.arguments import read_json_input
from obelisk_ops.durable.flow.loader import load_workflow
from obelisk_ops.durable.scheduling import Schedule, upcoming
from obelisk_ops.durable.unattended import answer_letters
from obelisk_ops.errors import InvalidInput
from obelisk_ops.storage import as_address

_SHOWN_TIMES = 3
_SHORTEST_MS = 1000


def _complete(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the ids of a database that was named before: ``--db runs.db <TAB>``."""
    return offered(
        str(ctx.params.get("database")),
        lambda reader: [(row.id, "") for row in reader.crons() if row.id.startswith(typed)],
    )


id_argument = click.argument("schedule_id", metavar="ID", shell_complete=_complete)


@click.group()
def schedule() -> None:
    """Workflows that start at certain times: what there is, what is next, and changing it."""


@schedule.command("list")
@click.pass_obj
@readable_option
@click.option("--function", help="Only those of this workflow.")
@click.option("--after", metavar="ID", default="", help="Only those behind this id.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@json_option
def list_(
    config: Path | None, database: str, *, function: str | None, after: str,
    limit: int | None, as_json: bool,
) -> None:  # fmt: skip
    """List schedules by id."""
    with open_reader_of(config, database) as reader:
        told = [_facts(reader, row) for row in _all(reader) if row.id > after]
    shown = [one for one in told if function in (None, one["function"])][:limit]
    if as_json:
        print_json({"schedules": shown})
        return
    print_table(
        ("id", "function", "when", "zone", "next", "paused", "running", "made", "skipped"),
        [
            (
                s["schedule_id"], s["function"], s["cron"] or f"every {s['every']}",
                s["timezone"], s["next_at"], "yes" if s["paused"] else None,
                len(s["running"]), s["made"], s["skipped"],
            )
            for s in shown
        ],
    )  # fmt: skip


@schedule.command()
@id_argument
@click.pass_obj
@readable_option
@json_option
def show(config: Path | None, schedule_id: str, database: str, *, as_json: bool) -> None:
    """Show one schedule: what it does and when, what it last did, and what is next."""
    with open_reader_of(config, database) as reader:
        row = _find(reader, schedule_id)
        shown = _facts(reader, row)
    shown |= {
        "input": msgspec.json.decode(schedules.decode_spec(row).input),
        "waiting_at": moment(row.waiting),
        "last_execution_id": row.newest,
        "next": _next(row, _SHOWN_TIMES),
    }
    if as_json:
        print_json(shown)
        return
    rows = [
        (name, value if isinstance(value, str) else _text(value))
        for name, value in shown.items()
    ]
    print_table(("field", "value"), rows)


@schedule.command("next")
@id_argument
@click.pass_obj
@readable_option
@click.option("--limit", default=5, show_default=True, type=LIMIT, help="How many.")
@json_option
def next_(
    config: Path | None, schedule_id: str, database: str, limit: int, *, as_json: bool
) -> None:
    """Print the next times of a schedule, in its zone."""
    with open_reader_of(config, database) as reader:
        row = _find(reader, schedule_id)
    if as_json:
        print_json({"schedule_id": row.id, "next": _next(row, limit)})
        return
    for at in upcoming(row, SystemClock().now_ms(), limit):
        click.echo(at.isoformat(sep=" "))


@schedule.command(cls=TakesJson)
@target_argument
@click.argument("values", nargs=-1, metavar="[JSON]...")
@database_option
@click.option("--id", "schedule_id", help="The schedule's id; the workflow's name by default.")
@click.option("--cron", "expression", default="", help="When, as in '0 3 * * *' or @daily.")
@click.option("--every", metavar="DURATION", help="Instead of --cron: as in 15m.")
@click.option("--timezone", default="UTC", show_default=True, help="In which --cron is read.")
@click.option(
    "--overlap", default="skip", show_default=True, type=click.Choice(cron.OVERLAPS),
    help="What becomes of a slot while one of its executions runs.",
)  # fmt: skip
@click.option(
    "--catch-up", default="one", show_default=True, metavar="one|all|none|DURATION",
    help="Which missed slots are made up for; a DURATION: those not older than that.",
)  # fmt: skip
@click.option("--paused", is_flag=True, help="Begin paused.")
@click.option("--replace", is_flag=True, help="Change the schedule that has this id.")
@json_option
def add(  # noqa: PLR0913 - options
    target: str,
    values: tuple[str, ...],
    database: str,
    *,
    schedule_id: str | None,
    paused: bool,
    replace: bool,
    as_json: bool,
    **when: Any,  # noqa: ANN401 - the other options
) -> None:
    """
    Start a workflow at certain times, whenever a worker serves it.

    TARGET is pkg.mod:function or file.py:function; each JSON is one argument.
    """
    if schedule_id is not None:
        schedules.checked_id(schedule_id)
    with stdout.for_the_result():
        function = load_workflow(target)
    catch_up = when["catch_up"]
    spec = Spec(
        fn=function.name,
        input=Raw(read_json_input(function, list(values))),
        cron=when["expression"],
        every=_interval(when["every"], when["expression"]),
        timezone=when["timezone"],
        overlap=when["overlap"],
        catch_up=catch_up if catch_up in cron.CATCH_UPS else _milliseconds(catch_up),
    )
    name = function.name if schedule_id is None else schedule_id

    async def put(engine: Engine) -> bool:
        made = await engine.put_schedule(function, name, spec, paused=paused, replace=replace)
        return made.created

    _say(name, _do(database, put), "added", as_json=as_json)


@schedule.command()
@id_argument
@database_option
@json_option
def pause(schedule_id: str, database: str, *, as_json: bool) -> None:
    """Let nothing of a schedule start until it is unpaused."""
    _manage(database, schedule_id, Schedule.pause, "paused", as_json=as_json)


@schedule.command()
@id_argument
@database_option
@json_option
def unpause(schedule_id: str, database: str, *, as_json: bool) -> None:
    """Let a paused schedule go on with its next slot."""
    _manage(database, schedule_id, Schedule.unpause, "goes on", as_json=as_json)


@schedule.command()
@id_argument
@database_option
@json_option
def delete(schedule_id: str, database: str, *, as_json: bool) -> None:
    """Forget a schedule; what it has started goes on."""
    _manage(database, schedule_id, Schedule.delete, "deleted", as_json=as_json)


@schedule.command()
@id_argument
@database_option
@json_option
def trigger(
    schedule_id: str,
    database: str,
    *,
    as_json: bool,  # noqa: ARG001 - the answer is JSON in any case
) -> None:
    """Start an execution of a schedule now, whatever runs; print its id as JSON."""

    async def start(engine: Engine) -> str:
        return (await engine.schedule_handle(schedule_id).trigger()).id

    print_json({"execution_id": _do(database, start)})


def _do(database: str, work: Callable[[Engine], Awaitable[Any]]) -> Any:  # noqa: ANN401
    """Ask something of the owner, or do it if there is none."""

    async def ask() -> Any:  # noqa: ANN401 - what the work returns
        path = as_address(database)
        async with Engine(path, serve=False) as engine:
            answer = await work(engine)
        await answer_letters(path)
        return answer

    return asyncio.run(ask())


def _manage(
    database: str,
    schedule_id: str,
    method: Callable[[Schedule], Awaitable[bool]],
    done: str,
    *,
    as_json: bool,
) -> None:
    async def manage(engine: Engine) -> bool:
        return await method(engine.schedule_handle(schedule_id))

    _say(schedule_id, _do(database, manage), done, as_json=as_json)


def _say(schedule_id: str, changed: bool, done: str, *, as_json: bool) -> None:  # noqa: FBT001
    if as_json:
        print_json({"schedule_id": schedule_id, "changed": changed})
        return
    if not changed:
        note("it was so already")
    click.echo(f"{schedule_id}: {done}")


def _all(reader: LogReader) -> list[CronRow]:
    asked = [one.target for one in reader.letters(ALL) if one.kind == schedules.KIND]
    names = sorted({row.id for row in reader.crons()} | set(asked))
    rows = [schedules.as_asked(reader, name) for name in names]
    return [row for row in rows if row is not None]


def _find(reader: LogReader, schedule_id: str) -> CronRow:
    row = schedules.as_asked(reader, schedule_id)
    if row is None:
        raise schedules.not_found(schedule_id, [known.id for known in _all(reader)])
    return row


def _facts(reader: LogReader, row: CronRow) -> dict[str, Any]:
    spec = schedules.decode_spec(row)
    catch_up = spec.catch_up
    return {
        "schedule_id": row.id,
        "function": spec.fn,
        "cron": spec.cron or None,
        "every": format_duration(spec.every / 1000) if spec.every else None,
        "timezone": spec.timezone,
        "overlap": spec.overlap,
        "catch_up": catch_up if isinstance(catch_up, str) else format_duration(catch_up / 1000),
        "paused": row.paused,
        "next_at": None if row.paused else moment(row.due),
        "running": [name for name in row.running if _is_unfinished(reader, name)],
        "made": row.made,
        "skipped": row.skipped,
    }


def _is_unfinished(reader: LogReader, execution_id: str) -> bool:
    row = reader.find(ids.latest(execution_id, reader.find, reader.newest_link))
    return row is not None and row.state is not State.FINISHED


def _next(row: CronRow, count: int) -> list[str]:
    now_ms = SystemClock().now_ms()
    spec = schedules.decode_spec(row)
    slots = cron.slots_after(spec, max(row.last, now_ms))
    return [iso(slot) for slot, _ in zip(slots, range(count), strict=False)]


def _interval(every: str | None, expression: str) -> int:
    if (every is not None) == bool(expression):
        raise InvalidInput(
            "a schedule has either --cron or --every",
            hint="as in --cron '0 3 * * *' or --every 15m",
        )
    interval = 0 if every is None else _milliseconds(every)
    if every is not None and interval < _SHORTEST_MS:
        raise InvalidInput(
            f"--every {every} is too short: a second at least",
            hint="for something more frequent let one workflow sleep in a loop",
        )
    return interval


def _milliseconds(text: str) -> int:
    try:
        return timedelta(seconds=parse_duration(text)) // timedelta(milliseconds=1)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r}: {error}", hint="see obelisk-ops schedule add --help"
        ) from None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else to_json(value).decode()
