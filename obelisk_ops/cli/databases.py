"""What ``--db`` means to a command that reads: a file, or a backup at some moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.filesize import decimal

from obelisk_ops import settings
from obelisk_ops.cli.output import waiting
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.restore.databases import (
    BACKUP_S,
    FILE_S,
    Backup,
    BackupInPlace,
    FileHere,
    LocalFile,
    Place,
    in_place,
    parse_database,
    temporary_copy,
)
from obelisk_ops.restore.source import open_source, replica_settings
from obelisk_ops.storage import is_server

_WITHIN = "obelisk_ops.within"


def allow(within_s: float | None) -> None:
    """Let this command read for so many seconds, instead of as long as is usual."""
    click.get_current_context().meta[_WITHIN] = within_s


def usual_limit_s(database: str) -> float:
    """Return how long reading what *database* names may usually take."""
    return BACKUP_S if is_backup(database) else FILE_S


@contextmanager
def readable(database: str, config: Path | None, *, restored: bool = False) -> Iterator[Place]:
    """
    Give what *database* names, to be read for as long as the command may.

    A backup is read where it is; with *restored* from a copy, which lies in a private folder
    for as long as the block runs.
    """
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    context = click.get_current_context(silent=True)
    within_s = context.meta.get(_WITHIN) if context else None
    if isinstance(meant, LocalFile):
        path = meant.path.absolute()
        yield FileHere(name=str(path), path=path, limit_s=within_s or FILE_S)
        return
    with _backup(meant, database, config, restored=restored) as place:
        yield replace(place, limit_s=within_s) if within_s else place


@contextmanager
def _backup(
    meant: Backup, name: str, config: Path | None, *, restored: bool
) -> Iterator[Place]:
    clock = SystemClock()
    wish = when.parse(meant.when, clock.now_ms())
    bucket = replica_settings(settings.load(config))
    if meant.bucket is not None:
        bucket = replace(bucket, bucket=meant.bucket, prefix=meant.prefix)
    source = open_source(bucket, meant.name)
    if restored:
        with temporary_copy(source, wish, clock) as copy:
            yield FileHere(name=name, path=copy.path, plan=copy.plan)
        return
    with (
        in_place(source, wish, clock, name=name) as backup,
        waiting(lambda: _progress(backup)),
    ):
        yield backup


def is_backup(database: str) -> bool:
    """Tell whether ``--db`` names a backup, and not a file or a server."""
    if is_server(database):
        return False
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    return isinstance(meant, Backup)


def _progress(backup: BackupInPlace) -> str:
    fetched, stored = backup.image.fetched_bytes, backup.image.stored_bytes
    return f"reading {backup.name} in place: {decimal(fetched)} of {decimal(stored)}"
