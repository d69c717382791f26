"""What the checks look at, and what the first of them find out for the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from obelisk_ops.core import ids
from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import OpsError
from obelisk_ops.litestream.config import Config
from obelisk_ops.objectstore import BucketRules, ObjectStore
from obelisk_ops.replica.layout import CHECK_FOLDER, ReplicaKeys, folder
from obelisk_ops.settings import ReplicaSettings, Settings
from obelisk_ops.supervise.launch import litestream_config, replica_of, replicated
from obelisk_ops.supervise.ownership import FIRST_EPOCH

#: Leftovers of a check that was killed are removed by one that comes so much later.
_ABANDONED_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How the bucket is reached; every request that is made through it has a deadline."""

    store: Callable[[ReplicaSettings], ObjectStore]
    rules: Callable[[ReplicaSettings], BucketRules]


class Site:
    """
    One run of the checks, and its place in the bucket.

    Attributes:
        clock: The time.
        id: Of this run.
        settings: What is configured; set by the check of the configuration.
        databases: The configured databases by name; likewise.
    """

    settings: Settings
    databases: dict[str, Path]

    def __init__(self, load: Callable[[], Settings], reach: Reach, clock: Clock) -> None:
        self.load, self.clock = load, clock
        self.id = ids.generated(clock.now_ms())
        self._reach = reach
        self._store: ObjectStore | None = None
        self._rules: BucketRules | None = None
        self._is_claimed = False

    @property
    def replica(self) -> ReplicaSettings:
        """Where backups go."""
        return replica_of(self.settings)

    @property
    def store(self) -> ObjectStore:
        """
        The bucket.

        Raises:
            CredentialsError: There are no credentials.
        """
        if self._store is None:
            self._store = self._reach.store(self.replica)
        return self._store

    def litestream_config(
        self, name: str, database: Path, meta: Path, *, prefix: str = ""
    ) -> Config:
        """Return what Litestream would be told about a database."""
        litestream = self.settings.litestream
        told = replicated(
            database,
            meta=meta,
            keys=ReplicaKeys(prefix=prefix, name=name),
            epoch=FIRST_EPOCH,
            replica=self.replica,
            litestream=litestream,
        )
        return litestream_config([told], litestream)

    @property
    def rules(self) -> BucketRules:
        """The settings of the bucket."""
        if self._rules is None:
            self._rules = self._reach.rules(self.replica)
        return self._rules

    def claim(self) -> str:
        """Return the folder in the bucket that this run may write in; `leave` empties it."""
        self._is_claimed = True
        return self._scratch

    @property
    def _scratch(self) -> str:
        return f"{self._scratches}{self.id}/"

    @property
    def _scratches(self) -> str:
        return f"{folder(self.replica.prefix)}{CHECK_FOLDER}/"

    def sweep(self) -> tuple[int, int]:
        """
        Remove what this run has put into the bucket, and what dead ones have left there.

        Returns:
            How many objects were removed, and how many are listed all the same.
        """
        present_ms = self.store.server_time_ms()

        def ours() -> list[str]:
            return [
                info.key
                for info in self.store.list(self._scratches)
                if info.key.startswith(self._scratch)
                or present_ms - info.modified_ms > _ABANDONED_MS
            ]

        found = ours()
        for key in found:
            self.store.delete(key)
        self._is_claimed = False
        return len(found), len(ours()) if found else 0

    def leave(self) -> None:
        """Remove what this run has put into the bucket, as far as that is possible."""
        if self._is_claimed:
            with suppress(OpsError):
                self.sweep()
