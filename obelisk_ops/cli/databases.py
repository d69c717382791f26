"""What ``--db`` means to a command that reads: a file, or a backup at some moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from obelisk_ops import settings
from obelisk_ops.core import when
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.restore.databases import Backup, LocalFile, parse_database, temporary_copy
from obelisk_ops.restore.service import Restored
from obelisk_ops.restore.source import open_source, replica_settings


@contextmanager
def readable(database: str, config: Path | None) -> Iterator[tuple[Path, Restored | None]]:
    """
    Give a file to read, and what it was restored from if it is a backup's.

    A backup lies in a private folder, for as long as the block runs.
    """
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    if isinstance(meant, LocalFile):
        yield meant.path.absolute(), None
        return
    with _copy(meant, config) as copy:
        yield copy.path, copy


@contextmanager
def _copy(backup: Backup, config: Path | None) -> Iterator[Restored]:
    clock = SystemClock()
    wish = when.parse(backup.when, clock.now_ms())
    place = replica_settings(settings.load(config))
    if backup.bucket is not None:
        place = replace(place, bucket=backup.bucket, prefix=backup.prefix)
    with temporary_copy(open_source(place, backup.name), wish, clock) as copy:
        yield copy


def is_backup(database: str) -> bool:
    """Tell whether ``--db`` names a backup and not a file."""
    meant = parse_database(database, exists=lambda text: Path(text).exists())
    return isinstance(meant, Backup)
