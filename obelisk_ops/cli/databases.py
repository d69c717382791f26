"""What ``--db`` means to a command that reads: a file, or a backup at some moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.filesize import decimal

from obelisk_ops import settings
from obelisk_ops.cli.output import waiting
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.restore.databases import (
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


@contextmanager
def readable(database: str, config: Path | None, *, restored: bool = False) -> Iterator[Place]:
    """
    Give what *database* names, to be read.

    A backup is read where it is; with *restored* from a copy, which lies in a private folder
    for as long as the block runs.
    """
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    if isinstance(meant, LocalFile):
        path = meant.path.absolute()
        yield FileHere(name=str(path), path=path)
        return
    clock = SystemClock()
    wish = when.parse(meant.when, clock.now_ms())
    place = replica_settings(settings.load(config))
    if meant.bucket is not None:
        place = replace(place, bucket=meant.bucket, prefix=meant.prefix)
    source = open_source(place, meant.name)
    if restored:
        with temporary_copy(source, wish, clock) as copy:
            yield FileHere(name=database, path=copy.path, plan=copy.plan)
        return
    with (
        in_place(source, wish, clock, name=database) as backup,
        waiting(lambda: _progress(backup)),
    ):
        yield backup


def is_backup(database: str) -> bool:
    """Tell whether ``--db`` names a backup and not a file."""
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    return isinstance(meant, Backup)


def _progress(backup: BackupInPlace) -> str:
    fetched, stored = backup.image.fetched_bytes, backup.image.stored_bytes
    return f"reading {backup.name} in place: {decimal(fetched)} of {decimal(stored)}"
