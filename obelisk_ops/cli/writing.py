"""What ``--db`` means to a command that writes: a file, never a backup."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obelisk_ops.cli import hints
from obelisk_ops.errors import OpsError, UsageError

if TYPE_CHECKING:
    from obelisk_ops.restore.databases import Backup


def file_to_write(
    ctx: click.Context, param: click.Parameter, database: str | None
) -> str | None:
    """
    Refuse what a command that reads takes for a backup; a callback of the option.

    A file of such a name would be made, and hide the backup from commands that read.

    Raises:
        UsageError: It is NAME@WHEN, a URL, or the name of a database of the configuration.
    """
    database = hints.remember_database(ctx, param, database)
    if database is not None and not ctx.resilient_parsing:
        refuse_backup(database, ctx.obj)
    return database


def _is_no_plain_path(database: str) -> bool:
    # What a backup is takes a while to import; other URLs are refused by the storage.
    if "://" in database:
        return database.startswith("s3://")
    return bool(database) and not database.endswith(".db") and not Path(database).exists()


def refuse_backup(database: str, config: Path | None) -> None:
    """
    Refuse to write to a backup.

    Args:
        database: What ``--db`` names.
        config: The file of the configuration, if it is named.

    Raises:
        UsageError: It is one.
    """
    if not _is_no_plain_path(database):
        return
    from obelisk_ops.restore.databases import Backup, parse_database  # noqa: PLC0415

    meant = parse_database(database, exists=lambda text: Path(text).exists())
    if not isinstance(meant, Backup):
        return
    instead = _instead(meant, database, config)
    if not instead:
        return
    raise UsageError(
        f"{database!r} is a backup, which can only be read",
        hint=f"{instead}; to go on in a copy: "
        "obelisk-ops execution fork ID --from-version N --db DB --to PATH",
    )


def _instead(meant: Backup, database: str, config: Path | None) -> str:
    """Return what to name for a file; nothing where none but a file can be meant."""
    if meant.bucket is not None:
        return "name a file"
    from obelisk_ops import settings  # noqa: PLC0415 - see above

    with suppress(OpsError):  # without a configuration there are no names
        file = settings.expand_databases(settings.load(config)).get(meant.name)
        if file is not None:
            return f"its file is {file}"
    return f"write ./{database} for a file of that name" if "@" in database else ""
