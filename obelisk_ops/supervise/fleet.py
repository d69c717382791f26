"""What all databases of one supervisor share."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from obelisk_ops.core.clock import Clock
from obelisk_ops.settings import LitestreamSettings, ReplicaSettings
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.census import Census
from obelisk_ops.supervise.descriptors import Descriptors, most_in_one_process
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.plan import Limits
from obelisk_ops.supervise.retention import Retention

_SEEKERS = 8


class Log(Protocol):
    """Where events go; each is one line."""

    def info(self, event: str, **fields: object) -> object:
        """Note an event."""

    def warning(self, event: str, **fields: object) -> object:
        """Note an event that somebody should see."""


@dataclass(slots=True, kw_only=True, eq=False)
class Fleet:
    """
    What all databases share that are replicated to one place.

    Attributes:
        replica: The bucket, as configured; a reload may name other credentials.
        litestream: How Litestream runs; a reload may say it anew.
        bucket: The connection to the bucket.
        lease: The right to write there.
        host: The name of this machine.
        program: The Litestream program.
        configs: Where configurations are written.
        sockets: Where the processes listen; a short path.
        control: Where the supervisor itself listens.
        clock: The time.
        log: Where events go.
        limits: How patient to be with processes.
        seekers: How many find out their epoch at once: one after the other is ready soon,
            where all at once would be ready late.
        files: How many may be open.
        census: Which replicas there are.
        drills: What drills have found.
        retention: Whether Litestream may delete.
    """

    replica: ReplicaSettings
    litestream: LitestreamSettings
    bucket: Bucket
    lease: Holder
    host: str
    program: Path
    configs: Path
    sockets: Path
    control: Path
    clock: Clock
    log: Log
    limits: Limits = field(default_factory=Limits)
    seekers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_SEEKERS))
    files: Descriptors = field(default_factory=Descriptors)
    census: Census = field(init=False)
    drills: Drillbook | None = None
    retention: Retention = field(init=False)

    def __post_init__(self) -> None:
        self.census = Census(self.replica.prefix, self.bucket, self.clock)
        self.retention = Retention(self.bucket, self.clock)

    @property
    def sync_interval_ms(self) -> int:
        """How often Litestream ships."""
        return round(self.litestream.sync_interval_s * 1000)

    @property
    def group_size(self) -> int | None:
        """How many databases share a process; None: each has one of its own."""
        if self.litestream.topology != "shared":
            return None
        # More processes cost memory; one that cannot open its files backs nothing up.
        return min(self.litestream.databases_per_process, most_in_one_process())

    @property
    def files_each(self) -> int:
        """How many files the supervisor keeps open for one more database."""
        return 2 if self.group_size is None else 1  # its lock, and the output of its process

    def socket_of(self, group: str) -> Path:
        """Return where the process of one group listens; short whatever its name is."""
        return self.sockets / f"{hashlib.sha256(group.encode()).hexdigest()[:10]}.sock"
