"""
The configuration of a Litestream process, as values; written as YAML, never by hand.

Litestream ignores a key it does not know, so a file is only ever made from
these classes. It holds no secret: credentials travel by the environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from obelisk_ops.errors import ConfigError

_BANNER = (
    "# Written by obelisk-ops and replaced when it starts. Credentials are never in here:\n"
    "# the process gets them by its environment. Run it with -no-expand-env.\n"
)

#: Ten times as fast, where there is one: a process may have a hundred databases.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

#: A character that Litestream, a shell or an S3 server may read as something else.
_FORBIDDEN = frozenset("\0\n\r")


# Rarely: a checkpoint writes to the database. Right after a writer was killed that could
# overwrite a commit which is shipped already and not in the index of the write-ahead log;
# the next owner saves it (storage/sqlite/recovery.py), if nobody wrote before.
_CHECKPOINT_S = 24 * 3600
_CHECKPOINT_PAGES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where in the bucket a database is replicated to."""

    bucket: str
    path: str
    region: str
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """
    One database of a process.

    Attributes:
        path: The SQLite file.
        meta: Where Litestream keeps what it has not yet shipped; one folder per epoch.
        target: Where it ships to; one folder per epoch.
        sync_interval_s: How often it looks for changes and ships them.
    """

    path: Path
    meta: Path
    target: Target
    sync_interval_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """
    Everything one process is told.

    Attributes:
        databases: What it replicates.
        socket: Its control socket; at most 107 bytes long.
        metrics: Loopback address and port of its metrics.
        snapshot_interval_s: Time between full snapshots.
        snapshot_retention_s: How far back the replica can be restored.
        levels_s: Time between compactions; the first is the precision of old restore points.
        l0_retention_s: How long every single shipped file stays restorable.
        l0_check_s: Time between looks for such files that are old enough to go. Each lists
            the bucket twice for each database, busy or not.
        shutdown_sync_s: How long it tries to ship the rest when it is told to stop.
        deletes: Whether it deletes in the bucket at all.
    """

    databases: tuple[Database, ...]
    socket: Path
    metrics: str
    snapshot_interval_s: float = 6 * 3600
    snapshot_retention_s: float = 30 * 86400
    levels_s: tuple[float, ...] = (30, 300, 3600)
    l0_retention_s: float = 600
    l0_check_s: float = 600
    shutdown_sync_s: float = 10
    deletes: bool = True


def to_yaml(config: Config) -> str:
    """
    Return the file that Litestream reads.

    Raises:
        ConfigError: A path holds a character that cannot be passed on safely.
    """
    settings: dict[str, object] = {
        "addr": config.metrics,
        "socket": {"enabled": True, "path": _text(config.socket)},
        "logging": {"level": "info", "type": "json", "stderr": True},
        "levels": [{"interval": duration(interval)} for interval in config.levels_s],
        "snapshot": {
            "interval": duration(config.snapshot_interval_s),
            "retention": duration(config.snapshot_retention_s),
        },
        "retention": {"enabled": config.deletes},
        "l0-retention": duration(config.l0_retention_s),
        "l0-retention-check-interval": duration(config.l0_check_s),
        "verify-compaction": True,
        "shutdown-sync-timeout": duration(config.shutdown_sync_s),
        "dbs": [_database(database) for database in config.databases],
    }
    return _BANNER + yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def duration(seconds: float) -> str:
    """Write a time the way Go reads it, in the largest unit that is exact."""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{round(seconds * 1000)}ms"


def _database(database: Database) -> dict[str, object]:
    # Uploads happen when the file is looked at, whatever sync-interval says: both are set.
    interval = duration(database.sync_interval_s)
    return {
        "path": _text(database.path),
        "meta-path": _text(database.meta),
        "monitor-interval": interval,
        "checkpoint-interval": duration(_CHECKPOINT_S),
        "min-checkpoint-page-count": _CHECKPOINT_PAGES,
        "replica": _target(database.target) | {"sync-interval": interval},
    }


def _target(target: Target) -> dict[str, object]:
    settings: dict[str, object] = {
        "type": "s3",
        "bucket": target.bucket,
        "path": target.path,
        # Left out, Litestream asks the bucket for it, with a call that is often forbidden.
        "region": target.region,
    }
    if target.endpoint:
        settings |= {"endpoint": target.endpoint, "force-path-style": True}
    return settings


def _text(path: Path) -> str:
    text = str(path)
    if _FORBIDDEN & set(text):
        raise ConfigError(
            f"the path {text!r} holds a line break", hint="rename the file or its folder"
        )
    return text
