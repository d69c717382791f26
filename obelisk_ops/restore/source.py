"""A replica of the configuration, ready to be restored from."""

from __future__ import annotations

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.errors import ConfigError
from obelisk_ops.litestream.config import Target
from obelisk_ops.objectstore import open_store
from obelisk_ops.replica.known import KnownTimes
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.times import PointTimes
from obelisk_ops.restore.pace import Pace
from obelisk_ops.restore.service import Source
from obelisk_ops.settings import (
    ReplicaSettings,
    Settings,
    cache_folder,
    check_name,
    child_environment,
    credential_environment,
)


def replica_settings(settings: Settings) -> ReplicaSettings:
    """
    Return where backups go.

    Raises:
        ConfigError: The configuration does not say it.
    """
    if settings.replica is None:
        raise ConfigError(
            f"{settings.path or 'the configuration'} does not say where backups are",
            hint="add replica.url, such as s3://bucket/prefix",
        )
    return settings.replica


def open_source(replica: ReplicaSettings, name: str, *, rate: int | None = None) -> Source:
    """
    Return the replica named *name*, and how to reach it; nothing is sent yet.

    Copies of it are read with so many bytes a second, where a *rate* is given.

    Raises:
        ConfigError: The name cannot be one.
        CredentialsError: There are no credentials.
    """
    check_name(name)
    return Source(
        store=open_store(replica, in_bulk=True),
        keys=ReplicaKeys(prefix=replica.prefix, name=name),
        bucket=Target(
            bucket=replica.bucket,
            path=replica.prefix,
            region=replica.region,
            endpoint=replica.endpoint,
        ),
        environment=child_environment(credential_environment(replica)),
        pace=Pace(rate, SystemClock()) if rate else None,
    )


def open_times(replica: ReplicaSettings, source: Source) -> PointTimes:
    """Return when the points of *source* were captured, with what this machine knows of it."""
    place = f"{replica.endpoint or 'AWS'} {replica.url}/{source.keys.name}"
    return PointTimes(source.store, KnownTimes(cache_folder() / "times", place))
