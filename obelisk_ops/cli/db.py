"""``db``: the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from obelisk_ops.cli.output import json_option, print_json
from obelisk_ops.cli.run import database_option
from obelisk_ops.core.migrating import Plan
from obelisk_ops.storage import as_address, plan_migration
from obelisk_ops.storage import migrate as move_on


@click.group()
def db() -> None:
    """Look after the tables of a database."""


@db.command()
@database_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
def migrate(database: str, *, dry_run: bool, as_json: bool) -> None:
    """
    Make the tables of this version, or bring older ones to it.

    For a database whose workers may not make tables: this command needs the right to,
    workers then only that of using them. Where all is there it does nothing. Workers go on
    meanwhile; where older ones could not work with the new tables it is refused while such
    live, and says which. Tables of a newer version are refused, by this command as by
    workers, unless they say that older programs can work with them.
    """
    address = as_address(database)
    plan = plan_migration(address) if dry_run else move_on(address)
    if as_json:
        print_json(_as_json(str(address), plan, is_done=not dry_run))
    else:
        click.echo("\n".join(_lines(str(address), plan, is_done=not dry_run)))


def _as_json(database: str, plan: Plan, *, is_done: bool) -> dict[str, object]:
    return {
        "database": database, "needed": plan.is_needed, "made": plan.is_needed and is_done,
        "version": plan.version,
        "steps": [{"version": step.version, "does": step.does} for step in plan.steps],
        "in_the_way": [
            {"host": one.host, "pid": one.pid, "knows": one.knows} for one in plan.in_the_way
        ],
    }  # fmt: skip


def _lines(database: str, plan: Plan, *, is_done: bool) -> Iterator[str]:
    if not plan.is_needed:
        yield f"{database}: nothing to do"
    elif plan.version is None:
        yield f"{database}: {'made' if is_done else 'would make'} its tables"
    else:
        what = "went" if is_done else "would go"
        yield f"{database}: {what} from version {plan.version} to {plan.steps[-1].version}"
    for step in plan.steps:
        yield f"  {step.version}  {step.does}"
    for one in plan.in_the_way:
        yield f"  not while {one} serves it, which knows version {one.knows}"
