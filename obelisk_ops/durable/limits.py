"""What an engine is told about how much, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass, field

from obelisk_ops.core.barrier import Replication
from obelisk_ops.durable.work.workshop import Bench
from obelisk_ops.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    How much, and how patiently.

    Attributes:
        bench: How many activities at the same time, and how.
        grace_s: What activities get to end when the engine is left.
        storage_timeout_s: How long a commit that fails is tried again, or what is read.
        keep_loaded: How many executions stay in memory that wait for what may take long.
        replication: Whether the bucket must hold what is acknowledged, and how patiently.
    """

    bench: Bench
    grace_s: float
    storage_timeout_s: float
    keep_loaded: int = 1000
    replication: Replication = field(default_factory=Replication)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, under the name that an engine is told it by."""
        given = (
            ("threads", self.bench.threads, 1),
            ("max_crashes", self.bench.max_crashes, 1),
            ("output_limit", self.bench.output_bytes, 0),
            ("keep_loaded", self.keep_loaded, 0),
            ("grace", self.grace_s, 0),
            ("storage_timeout", self.storage_timeout_s, 0),
        )
        for name, value, least in given:
            if not value >= least:
                raise ConfigError(f"{name}={value!r} is too little", hint=f"{least} at least")
