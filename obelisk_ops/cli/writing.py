"""What ``--db`` means to a command that writes: a file, never a backup."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from obelisk_ops.cli import hints
from obelisk_ops.errors import OpsError, UsageError


def file_to_write(
    ctx: click.Context, param: click.Parameter, database: str | None
) -> str | None:
    """
    Refuse what a command that reads takes for a backup; a callback of the option.

    A file of such a name would be made, and hide the backup from commands that read.

    Raises:
        UsageError: It is NAME@WHEN, or the name of a database of the configuration.
    """
    hints.remember_database(ctx, param, database)
    if database is not None and not ctx.resilient_parsing and _is_no_plain_path(database):
        _refuse_backup(database, ctx.obj)
    return database


def _is_no_plain_path(database: str) -> bool:
    # What a backup is takes a while to import; URLs are refused by the storage.
    is_plain = database.endswith(".db") or "://" in database or not database
    return not is_plain and not Path(database).exists()


def _refuse_backup(database: str, config: Path | None) -> None:
    from obelisk_ops import settings  # noqa: PLC0415 - see above
    from obelisk_ops.restore.databases import Backup, parse_database  # noqa: PLC0415

    meant = parse_database(database, exists=lambda text: Path(text).exists())
    if not isinstance(meant, Backup):
        return
    file = None
    with suppress(OpsError):  # without a configuration there are no names
        file = settings.expand_databases(settings.load(config)).get(meant.name)
    if file is None and "@" not in database:
        return
    instead = f"its file is {file}" if file else f"write ./{database} for a file of that name"
    raise UsageError(
        f"{database!r} is a backup, which can only be read",
        hint=f"{instead}; to go on in a copy: "
        "obelisk-ops execution fork ID --from-version N --db DB --to PATH",
    )
