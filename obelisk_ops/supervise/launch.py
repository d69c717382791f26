"""From settings to what one Litestream process is started with."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from obelisk_ops.errors import ConfigError
from obelisk_ops.litestream.config import Config, Database, Target, to_yaml
from obelisk_ops.litestream.program import replicate_argv
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import (
    LitestreamSettings,
    ReplicaSettings,
    Settings,
    child_environment,
    credential_environment,
)
from obelisk_ops.supervise.child import Launch
from obelisk_ops.supervise.sidecar import private_folder, write_private

#: However many databases a process has, so long for the last sync of each.
_SHUTDOWN_SYNC_LEAST_S = 1.0

_LOOPBACK = "127.0.0.1"


def replica_of(settings: Settings) -> ReplicaSettings:
    """
    Return the replica of the configuration.

    Raises:
        ConfigError: It names none.
    """
    if settings.replica is None:
        raise ConfigError(
            "the configuration names no replica",
            hint="add 'replica:' with 'url: s3://bucket/prefix'",
        )
    return settings.replica


def replicated(
    database: Path,
    *,
    meta: Path,
    keys: ReplicaKeys,
    epoch: int,
    replica: ReplicaSettings,
    litestream: LitestreamSettings,
) -> Database:
    """Return how one database is replicated."""
    return Database(
        path=database,
        meta=meta,
        target=Target(
            bucket=replica.bucket,
            path=keys.epoch(epoch).rstrip("/"),
            region=replica.region,
            endpoint=replica.endpoint,
        ),
        sync_interval_s=litestream.sync_interval_s,
    )


def litestream_config(
    databases: Iterable[Database], litestream: LitestreamSettings, *, deletes: bool = True
) -> Config:
    """Return the configuration of one process; socket and port are filled in at the start."""
    chosen = tuple(databases)
    return Config(
        databases=chosen,
        socket=Path("litestream.sock"),
        metrics=f"{_LOOPBACK}:9090",
        levels_s=litestream.levels_s,
        l0_retention_s=litestream.l0_retention_s,
        l0_check_s=litestream.l0_check_s,
        snapshot_interval_s=litestream.snapshot_interval_s,
        snapshot_retention_s=litestream.snapshot_retention_s,
        shutdown_sync_s=_shutdown_sync_s(litestream.shutdown_sync_s, len(chosen)),
        deletes=deletes,
    )


def _shutdown_sync_s(process_s: float, databases: int) -> float:
    # One database is closed after the other.
    return max(process_s / max(1, databases), min(process_s, _SHUTDOWN_SYNC_LEAST_S))


def environment(replica: ReplicaSettings) -> dict[str, str]:
    """
    Return the whole environment of a Litestream process, credentials included.

    Raises:
        CredentialsError: There are none, or they cannot be read.
    """
    given = credential_environment(replica)
    if replica.credentials != "ambient":
        # Otherwise a key pair that is refused sends it looking for a role, for minutes.
        given["AWS_EC2_METADATA_DISABLED"] = "true"
    return child_environment(given)


def launch(
    config: Config, env: Mapping[str, str], *, program: Path, file: Path, socket_path: Path
) -> Launch:
    """
    Write the configuration to *file* and return how to start with it.

    Raises:
        StorageUnavailable: It could not be written.
    """
    complete = replace(config, socket=socket_path, metrics=f"{_LOOPBACK}:{_free_port()}")
    private_folder(file.parent)
    write_private(file, to_yaml(complete).encode())
    return Launch(
        argv=replicate_argv(program, file),
        env=env,
        socket=socket_path,
        digest=digest(config, env),
    )


def digest(config: Config, env: Mapping[str, str]) -> str:
    """Return what changes when a running process has to be replaced by a new one."""
    parts = [repr(config), *(f"{name}={value}" for name, value in sorted(env.items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
