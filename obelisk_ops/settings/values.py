"""The values that the configuration becomes. Frozen; nothing here holds a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

DAY_S = 86_400.0

#: Fits into the 30 s that Kubernetes gives a pod, with a margin for what ends after us.
STOP_TIMEOUT_S = 25.0
#: The share of a stop that a last sync may take: there are two, and then we look.
SYNC_SHARE = 0.4

Topology = Literal["per-database", "shared"]
Profile = Literal["cost", "balanced", "tight"]


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
    """
    How Litestream runs, and how closely it is watched.

    Attributes:
        topology: Whether databases share a process.
        databases_per_process: How many, if they do.
        profile: Where the values come from that the file leaves out.
        sync_interval_s: How often changes are looked for and shipped.
        list_interval_s: How often the objects of a database at rest are listed.
        levels_s: Time between compactions; the first is the precision of old restore points.
        l0_retention_s: How long every single shipped file stays restorable.
        l0_check_s: Time between looks for such files that are old enough to go.
        snapshot_interval_s: Time between full copies.
        snapshot_retention_s: How far back a backup can be restored.
    """

    topology: Topology = "per-database"
    databases_per_process: int = 150
    profile: Profile = "balanced"
    sync_interval_s: float = 1.0
    list_interval_s: float = 60.0
    levels_s: tuple[float, ...] = (30.0, 300.0, 3_600.0)
    l0_retention_s: float = 600.0
    l0_check_s: float = 600.0
    snapshot_interval_s: float = 6 * 3_600.0
    snapshot_retention_s: float = 30 * DAY_S
    shutdown_sync_s: float = 10.0  # a share of stop_timeout: how long its last sync may take


#: What each profile means. The requests that each costs are in docs/reference/configuration.md.
PROFILES: Mapping[Profile, LitestreamSettings] = MappingProxyType(
    {
        "cost": LitestreamSettings(
            profile="cost",
            sync_interval_s=10.0,
            list_interval_s=120.0,
            levels_s=(300.0, 3_600.0),
            l0_retention_s=1_800.0,
            l0_check_s=1_800.0,
        ),
        "balanced": LitestreamSettings(),
        "tight": LitestreamSettings(
            profile="tight", sync_interval_s=0.25, levels_s=(10.0, 60.0, 600.0, 3_600.0)
        ),
    }
)
PROFILE_NAMES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """
    Where metrics are fetched from.

    Attributes:
        listen: Address and port as written; None for nowhere.
        host: The address.
        port: The port; 0 for any.
        allow_remote: Whether it may be another address than loopback.
        hosts: Names that may be asked for, besides addresses and localhost.
    """

    listen: str | None = None
    host: str = ""
    port: int = 0
    allow_remote: bool = False
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsSettings:
    """
    Who is told when a database is not well any more.

    Attributes:
        webhook: Where to find the address: itself, file:PATH (absolute) or env:NAME.
        command: A program and its arguments; empty for none.
        after_s: How long it has to last before anybody is told.
        repeat_s: How often they are told again.
    """

    webhook: str | None = None
    command: tuple[str, ...] = ()
    after_s: float = 30.0
    repeat_s: float = 4 * 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillSettings:
    """
    How backups are proven.

    Attributes:
        every_s: How often the supervisor restores and checks each; None for never.
        timeout_s: How long one drill may take.
        download_bytes: How much one may read from the bucket; None for any amount.
    """

    every_s: float | None = DAY_S
    timeout_s: float = 3_600.0
    download_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSettings:
    """How copies of backups are made; ``rate`` is bytes a second, None for any number."""

    rate: int | None = None


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
    host: str = ""  # the name of this machine; empty: what the system calls it
    drill: DrillSettings = field(default_factory=DrillSettings)
    restore: RestoreSettings = field(default_factory=RestoreSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    alerts: AlertsSettings = field(default_factory=AlertsSettings)
