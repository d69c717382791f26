"""The values that the configuration becomes. Frozen; nothing here holds a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

DAY_S = 86_400.0

#: Fits into the 30 s that Kubernetes gives a pod, with a margin for what ends after us.
STOP_TIMEOUT_S = 25.0
#: The share of a stop that a last sync may take: there are two, and then we look.
SYNC_SHARE = 0.4

Topology = Literal["per-database", "shared"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """The place in object storage where all backups go."""

    bucket: str
    prefix: str  # no slash at either end; may be empty
    endpoint: str | None  # None: AWS
    region: str
    credentials: str  # env | ambient | profile:NAME | file:PATH (absolute)

    @property
    def url(self) -> str:
        """The place as ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """One entry of ``databases``: a file, or a glob and what its files are called."""

    path: str  # absolute
    name: str  # a template: {stem}, {name}, {parent}


@dataclass(frozen=True, slots=True, kw_only=True)
class LitestreamSettings:
    """How Litestream runs."""

    topology: Topology = "per-database"
    sync_interval_s: float = 1.0
    snapshot_interval_s: float = 6 * 3_600.0
    snapshot_retention_s: float = 30 * DAY_S
    shutdown_sync_s: float = 10.0  # a share of stop_timeout: how long its last sync may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration; ``path`` is the file it came from."""

    path: Path | None = None
    replica: ReplicaSettings | None = None
    databases: tuple[DatabaseSettings, ...] = ()
    state_dir: Path
    litestream: LitestreamSettings = field(default_factory=LitestreamSettings)
    stop_timeout_s: float = STOP_TIMEOUT_S
    lease_ttl_s: float = 30.0
    drill_every_s: float = DAY_S
