"""``execution prune``: forgetting what is over."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import click

from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.run import database_option
from obelisk_ops.core.clock import iso
from obelisk_ops.core.durations import parse_duration
from obelisk_ops.core.ports import Result
from obelisk_ops.core.retention import Group
from obelisk_ops.core.words import counted
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.housekeeping import Pruned
from obelisk_ops.errors import InvalidInput
from obelisk_ops.storage import as_address


@click.command()
@database_option
@click.option(
    "--older-than", default="30d", show_default=True, metavar="DURATION",
    help="Only what ended longer ago; 0s for all.",
)  # fmt: skip
@click.option(
    "--state", type=click.Choice(["finished"]), default="finished", show_default=True,
    help="What is unfinished is never pruned.",
)  # fmt: skip
@click.option(
    "--result", "results", multiple=True, type=click.Choice([str(r) for r in Result]),
    help="Only what ended like this; can be given several times.",
)  # fmt: skip
@click.option("--function", default="", help="Only executions of this workflow.")
@click.option(
    "--keep", default=0, show_default=True, type=click.IntRange(0),
    help="So many of each workflow stay, the newest.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="Do it; else only say what would go.")
@json_option
def prune(  # noqa: PLR0913 - options
    database: str,
    *,
    older_than: str,
    state: str,  # noqa: ARG001 - there is one choice
    results: tuple[str, ...],
    function: str,
    keep: int,
    apply: bool,
    as_json: bool,
) -> None:
    """
    Forget executions that are over, with all their children.

    Says what would go; --apply does it, in small steps beside a running owner. What is
    unfinished stays, and so does what that needs. See docs/how-to/keep-it-small.md.
    """
    patience = _duration(older_than)

    async def ask() -> Pruned:
        async with Engine(as_address(database), serve=False) as engine:
            return await engine.prune(
                older_than=patience, result=results, function=function, keep=keep, apply=apply
            )

    told = asyncio.run(ask())
    if as_json:
        print_json(_shape(told))
        return
    columns = ("function", "result", "executions", "events", "bytes", "oldest", "newest")
    print_table(columns, [list(_row(group).values()) for group in told.groups])
    for reason, count in told.kept.items():
        note(f"{count} stay{'s' if count == 1 else ''}: {reason}")
    if apply:
        note(f"pruned: {counted(told.executions, 'execution')}")
    elif told.executions:
        note(f"{counted(told.executions, 'execution')} would go; do it with --apply")


def _shape(told: Pruned) -> dict[str, Any]:
    return {
        "applied": told.applied,
        "executions": told.executions,
        "events": told.events,
        "bytes": told.bytes,
        "groups": [_row(group) for group in told.groups],
        "kept": told.kept,
    }


def _row(group: Group) -> dict[str, Any]:
    return {
        "function": group.function,
        "result": group.result,
        "executions": group.executions,
        "events": group.events,
        "bytes": group.bytes,
        "oldest": iso(group.oldest),
        "newest": iso(group.newest),
    }


def _duration(text: str) -> timedelta:
    try:
        return timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"--older-than {text!r}: {error}",
            hint="it is counted from the end of an execution, as in --older-than 30d",
        ) from None
