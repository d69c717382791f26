"""``db``: the tables themselves."""

from __future__ import annotations

import click

from obelisk_ops.cli.output import json_option, print_json
from obelisk_ops.cli.run import database_option
from obelisk_ops.storage import as_address, is_missing, make_if_missing


@click.group()
def db() -> None:
    """Look after the tables of a database."""


@db.command()
@database_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
def migrate(database: str, *, dry_run: bool, as_json: bool) -> None:
    """
    Make the tables of this version, where they are missing.

    For a database whose workers may not make tables: this command needs the right to,
    workers then only that of using them. Where all is there it does nothing. A database of
    a newer version is refused, by this command as by workers.
    """
    address = as_address(database)
    is_needed = is_missing(address)
    if is_needed and not dry_run:
        make_if_missing(address)
    if as_json:
        print_json(
            {"database": str(address), "made": is_needed and not dry_run, "needed": is_needed}
        )
        return
    done = "would make its tables" if dry_run else "made its tables"
    click.echo(f"{address}: {done if is_needed else 'nothing to do'}")
