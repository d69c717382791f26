"""What ``--db`` means to a command that reads: a file, or a backup at some moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.filesize import decimal

from obelisk_ops import process, settings
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

#: What a command may use more than at its start while it reads.
_MEMORY_BYTES = 2 * 1024 * 1024 * 1024


@contextmanager
def readable(database: str, config: Path | None, *, restored: bool = False) -> Iterator[Place]:
    """
    Give what *database* names, to be read; what it holds may not take all memory.

    A backup is read where it is; with *restored* from a copy, which lies in a private folder
    for as long as the block runs.
    """
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    with process.memory_limit(_MEMORY_BYTES):
        if isinstance(meant, LocalFile):
            path = meant.path.absolute()
            yield FileHere(name=str(path), path=path)
            return
        with _backup(meant, database, config, restored=restored) as place:
            yield place


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
    """Tell whether ``--db`` names a backup and not a file."""
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    return isinstance(meant, Backup)


def _progress(backup: BackupInPlace) -> str:
    fetched, stored = backup.image.fetched_bytes, backup.image.stored_bytes
    return f"reading {backup.name} in place: {decimal(fetched)} of {decimal(stored)}"
