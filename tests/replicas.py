"""Making real replicas quickly: a database, and a Litestream that ships what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import apsw
import yaml

from obelisk_ops import process
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.process import find_program
from obelisk_ops.replica.epochs import EpochMarker, Parent, open_epoch
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings, child_environment, credential_environment
from obelisk_ops.storage import sql

#: No test waits for a snapshot or a compaction it did not ask for
_NEVER = "24h"
#: Of the backup that several rooms look at.
POINTS, ROWS_EACH = 4, 5


class ReplicatedDatabase:
    """A database whose every ``ship`` is one restore point."""

    def __init__(
        self, folder: Path, place: ReplicaSettings, name: str = "run", page_size: int = 1024
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.place = place
        self.keys = ReplicaKeys(prefix=place.prefix, name=name)
        self.store: ObjectStore = open_store(place)
        self.path = folder / f"{name}.db"
        self._config = folder / f"{name}.yml"
        self.epoch = 0
        self.begin_epoch(None)
        self.connection = apsw.Connection(str(self.path))
        self.connection.set_busy_timeout(5000)
        self.execute(f"PRAGMA page_size={page_size}")
        self.execute("PRAGMA journal_mode=wal")
        self.execute("PRAGMA wal_autocheckpoint=0")

    def execute(self, statement: str, *values: str | int) -> None:
        """Run SQL on the database."""
        self.connection.execute(statement, values)

    def fill(self, rows: int, width: int = 100) -> None:
        """Add rows of random text, in one transaction, to a table of no meaning."""
        # Litestream writes too: a transaction that reads first could not go on to write.
        self.execute("BEGIN IMMEDIATE")
        self.execute("CREATE TABLE IF NOT EXISTS t (x)")
        self.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO t SELECT hex(randomblob(?)) FROM n",
            rows,
            width // 2,
        )
        self.execute("COMMIT")

    def ship(self, *flags: str) -> None:
        """Replicate everything, and return when it is in the bucket."""
        self._run(*self._command("replicate"), "-once", *flags)

    def restored(self, target: Path) -> Path:
        """Restore the newest state of the present epoch by Litestream alone."""
        self._run(*self._command("restore"), "-o", target, self.path)
        return target

    @contextmanager
    def replicating(
        self, *, levels_s: Sequence[int], snapshot_s: int, retention_s: int, l0_s: int = 1
    ) -> Iterator[None]:
        """Let Litestream run, in a great hurry to compact and to forget."""
        settings = self._settings() | {
            "levels": [{"interval": f"{interval}s"} for interval in levels_s],
            "snapshot": {"interval": f"{snapshot_s}s", "retention": f"{retention_s}s"},
            "l0-retention": f"{l0_s}s",
            "l0-retention-check-interval": "1s",
        }
        database = cast("list[dict[str, object]]", settings["dbs"])[0]
        database["monitor-interval"] = "100ms"
        self._config.write_text(yaml.safe_dump(settings))
        child = process.spawn(self._command("replicate"), env=self.environment)
        try:
            yield
        finally:
            child.terminate()
            child.wait(timeout=120)

    def begin_epoch(self, parent: Parent | None) -> None:
        """Open the next epoch and ship into it from now on."""
        self.epoch += 1
        marker = EpochMarker(
            epoch=self.epoch, parent=parent, database_id=None, host="here", inode=1,
            opened_at_ms=0, owner=f"owner{self.epoch}",
        )  # fmt: skip
        open_epoch(self.store, self.keys, marker)
        self._config.write_text(yaml.safe_dump(self._settings()))

    @property
    def environment(self) -> dict[str, str]:
        """What a Litestream for this replica needs."""
        return child_environment(credential_environment(self.place))

    def ltx(self, level: int, first: int, last: int) -> str:
        """Return the key of an LTX file of the present epoch."""
        return f"{self.keys.level(self.epoch, level)}{first:016x}-{last:016x}.ltx"

    def close(self) -> None:
        """Close the database, as its application would."""
        self.connection.close()

    def _run(self, *argv: str | Path) -> None:
        done = process.run(argv, env=self.environment, timeout_s=180)
        assert done.returncode == 0, done.stdout + done.stderr

    def _command(self, command: str) -> list[str | Path]:
        program = find_program("litestream")
        assert program is not None
        return [program, command, "-config", self._config, "-no-expand-env"]

    def _settings(self) -> dict[str, object]:
        target = {
            "type": "s3", "bucket": self.place.bucket, "endpoint": self.place.endpoint,
            "path": self.keys.epoch(self.epoch).rstrip("/"), "region": self.place.region,
            "force-path-style": True,
        }  # fmt: skip
        meta = self.path.with_name(f".{self.path.name}-meta{self.epoch}")
        database = {"path": str(self.path), "meta-path": str(meta), "replica": target}
        return {"dbs": [database], "snapshot": {"interval": _NEVER, "retention": _NEVER}}


def count_rows(path: Path) -> int:
    """Return how many rows `fill` has put into the database."""
    connection = apsw.Connection(str(path))
    (rows,) = next(connection.execute("SELECT count(*) FROM t"))
    connection.close()
    return int(rows)


def write_config(folder: Path, place: ReplicaSettings, name: str = "obelisk-ops.yml") -> Path:
    """Write the configuration of a user who replicates to *place*."""
    file = folder / name
    settings = {
        "url": place.url, "endpoint": place.endpoint, "region": place.region,
        "credentials": place.credentials,
    }  # fmt: skip
    file.write_text(yaml.safe_dump({"replica": settings, "databases": []}))
    return file


def make_workflow_tables(connection: apsw.Connection, *, schema_version: str = "1") -> None:
    """Create the tables of a workflow database with a short, eventful history."""
    connection.execute(sql.read("obelisk_ops.storage.sqlite", "schema.sql"))
    meta = [("schema_version", schema_version), ("database_id", "ab" * 16), ("epoch", "1")]
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)
    connection.executemany(
        "INSERT INTO state (key, id, function, state, result, created_at, finished_at, error)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (1, "good", "shop.fulfil", "finished", "ok", 1000, 5000, None),
            (2, "bad", "shop.fulfil", "finished", "error", 2000, 6000, "shop.Declined: no"),
            (3, "busy", "shop.sweep", "running", None, 3000, None, None),
            (4, "stuck", "shop.sweep", "parked", None, 4000, None, "other code"),
        ],
    )
    connection.executemany("INSERT INTO log VALUES ((? << 32) + ?, ?, ?, ?)", _LOG)


_LOG = [
    # execution, version, at, kind, body
    (1, 0, 1000, "created", '{"fn":"shop.fulfil","in":[]}'),
    (1, 1, 1100, "intended", '{"n":1,"fn":"shop.charge","in":[],"try":1}'),
    (1, 2, 1200, "returned", '{"n":1,"ok":7}'),
    (1, 3, 5000, "finished", '{"ok":7}'),
    (2, 0, 2000, "created", '{"fn":"shop.fulfil","in":[]}'),
    (2, 1, 6000, "finished", '{"error":{"type":"shop.Declined","message":"no"}}'),
    (3, 0, 3000, "created", '{"fn":"shop.sweep","in":[]}'),
    (3, 1, 3100, "intended", '{"n":1,"fn":"shop.train","in":[],"try":1}'),
    (3, 2, 3150, "intended", '{"n":2,"fn":"shop.train","in":[],"try":1}'),
    (3, 3, 3160, "intended", '{"n":3,"fn":"shop.score","in":[]}'),
    (3, 4, 3170, "intended", '{"n":4,"fn":"shop.score","in":[],"try":1}'),
    (3, 5, 3180, "timer_set", '{"n":5,"wait":1,"until":9}'),
    (3, 6, 3200, "returned", '{"n":1,"ok":null}'),
    (
        3, 7, 3300, "attempt_failed",
        '{"n":2,"try":1,"error":{"type":"E","message":"m"},"retry_at":3400}',
    ),
    (3, 8, 3400, "attempt_started", '{"n":2,"try":2}'),
    (4, 0, 4000, "created", '{"fn":"shop.sweep","in":[]}'),
    (4, 1, 4100, "parked", '{"error":{"type":"Nondeterminism","message":"other code"}}'),
]  # fmt: skip
