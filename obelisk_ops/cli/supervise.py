"""``supervise`` keeps the databases replicated; ``status`` tells how well they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.core.words import harmless
from obelisk_ops.settings import load

if TYPE_CHECKING:
    from obelisk_ops.supervise.status import Row

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


@click.command()
@click.option("--once", is_flag=True, help="Sync and prove everything, then stop.")
@json_option
@click.pass_context
def supervise(ctx: click.Context, once: bool, as_json: bool) -> None:  # noqa: FBT001
    """
    Keep every configured database replicated, until SIGTERM.

    Logs JSON lines on stderr. SIGHUP reads the configuration again. SIGTERM ships
    the rest and says what is unsent; a second one stops at once.
    """
    from obelisk_ops.app import supervisor  # noqa: PLC0415 - boto3 is slow to import

    outcome = supervisor(ctx.obj)(once)
    if as_json:
        print_json({"databases": outcome.rows})
        _refuse_silence(outcome.rows, outcome.exit_status)
    elif once:
        _print_status(outcome.rows)
    else:
        for row in outcome.rows:
            click.echo(harmless(f"{row.name}: {row.detail}"))
    ctx.exit(outcome.exit_status)


@click.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001
    """Show how well every database of this machine is backed up."""
    from obelisk_ops.app import fleet_status  # noqa: PLC0415 - the supervisor's room is large

    rows, exit_status = fleet_status(load(ctx.obj))
    if not rows:
        note("no file matches the databases of the configuration")
    if as_json:
        print_json({"databases": rows})
        _refuse_silence(rows, exit_status)
    else:
        _print_status(rows)
    ctx.exit(exit_status)


def _refuse_silence(rows: list[Row], exit_status: int) -> None:
    """
    Say which database is why the exit status is not 0; in the table its row says so.

    Raises:
        OpsError: It is not.
    """
    from obelisk_ops.supervise.status import trouble  # noqa: PLC0415 - see above

    error = trouble(rows, exit_status)
    if error is not None:
        raise error


def _print_status(rows: Iterable[Row]) -> None:
    columns = ("db", "state", "rpo", "unsent", "restorable", "drill", "detail")
    print_table(columns, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[object, ...]:
    drill = row.last_drill["outcome"] if row.last_drill else None
    detail = row.detail or (f"pid {row.pid}" if row.pid else "")
    return (
        row.name,
        row.state.upper(),
        _age(row.rpo_seconds),
        _unsent(row),
        _window(row),
        drill,
        detail,
    )


def _unsent(row: Row) -> str | None:
    return None if row.unsent_transactions is None else f"{row.unsent_transactions} tx"


def _window(row: Row) -> str | None:
    newest = row.restorable.newest
    if newest is None:
        return None
    oldest = row.restorable.oldest
    return f"{_minute(oldest) if oldest else '…'} → {_minute(newest)}"


def _minute(moment: str) -> str:
    return moment[:19].replace("T", " ")


def _age(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    if seconds < _MINUTE_S:
        return f"{seconds:.1f}s"
    for unit, size, smaller, small in (
        ("m", _MINUTE_S, "s", 1),
        ("h", _HOUR_S, "m", _MINUTE_S),
        ("d", _DAY_S, "h", _HOUR_S),
    ):
        if seconds < size * 60 or unit == "d":
            return f"{int(seconds // size)}{unit}{int(seconds % size // small)}{smaller}"
    return None
