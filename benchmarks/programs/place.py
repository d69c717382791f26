"""
Looking into a large backup in place, beside restoring it, with a real S3 server.

The database is that of a sweep whose runs have large results: a run in a hundred fails, the
last ones are cut short. It is made in bulk, and shipped by a real Litestream as a snapshot.
Answers are those of ``inspect`` and of ``execution show``; a restore is ours, with its checks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import apsw
import yaml

from obelisk_ops import process
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.when import Latest
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.summary import summarise_in_place
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.replica.image import Image
from obelisk_ops.restore.databases import in_place
from obelisk_ops.restore.service import Source, restore
from obelisk_ops.restore.source import open_source
from obelisk_ops.settings import (
    ReplicaSettings,
    child_environment,
    credential_environment,
)
from obelisk_ops.storage import open_reader
from obelisk_ops.storage.sqlite.connection import open_owner

STATES = "SELECT function, state, result, count(*) FROM state GROUP BY 1, 2, 3"
SIDE_BY_SIDE = 8
VALUE_BYTES = 50_000
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many executions; every second has so many results of 50 KB, others four times."""

    executions: int
    results: int


SIZES = {"full": Size(executions=400, results=21), "tiny": Size(executions=10, results=4)}
ONCE = True


def measure(folder: Path, size: Size) -> dict[str, float]:
    path = folder / "sweep.db"
    fill(path, size)
    with S3Server(folder / "s3") as server:
        replica = ReplicaSettings(
            bucket=server.bucket, prefix="bench", endpoint=server.endpoint,
            region=server.region, credentials=f"file:{server.credentials_file}",
        )  # fmt: skip
        _ship(folder, path, replica)
        path.unlink()
        return _measure(open_source(replica, "sweep"), folder / "copy.db", size)


def _measure(source: Source, copy: Path, size: Size) -> dict[str, float]:
    list(source.store.folders(""))  # the first request takes longest, for everybody
    figures: dict[str, float] = {}
    shares = []
    for name in ("states", "show", "inspect"):
        began = perf_counter()
        with _image(source) as image:
            _answer(name, image, size)
            figures[f"{name}_seconds"] = perf_counter() - began
            shares.append(100 * image.fetched_bytes / image.stored_bytes)
    began = perf_counter()
    restore(source, Latest(), copy, clock=SystemClock(), progress=lambda _done, _all: None)
    figures["restore_seconds"] = whole = perf_counter() - began
    for name in ("states", "show", "inspect"):
        figures[f"{name}_of_restore"] = figures[f"{name}_seconds"] / whole
    return figures | {"bytes_percent": max(shares)}


def _answer(name: str, image: Image, size: Size) -> None:
    if name == "inspect":
        summarise_in_place(image, "sweep", limit_s=LIMIT_S)
        return
    with open_in_place(image, "sweep", limit_s=LIMIT_S) as connection:
        if name == "states":
            assert connection.execute(STATES).fetchall()
            return
        reader = open_reader(Path("sweep"), connection)
        row = reader.find(f"run-{size.executions // 2}")
        assert row is not None
        assert reader.log(row.key)


@contextmanager
def _image(source: Source) -> Iterator[Image]:
    with in_place(source, Latest(), SystemClock(), name="sweep") as backup:
        yield backup.image


def _ship(folder: Path, path: Path, replica: ReplicaSettings) -> None:
    """Replicate everything to the first epoch, as a snapshot."""
    program = process.find_program("litestream")
    assert program is not None
    target = {
        "type": "s3", "bucket": replica.bucket, "path": f"{replica.prefix}/sweep/e0001",
        "endpoint": replica.endpoint, "region": replica.region, "force-path-style": True,
    }  # fmt: skip
    config = folder / "litestream.yml"
    config.write_text(yaml.safe_dump({"dbs": [{"path": str(path), "replica": target}]}))
    argv: list[str | Path] = [
        program,
        "replicate",
        "-config",
        config,
        "-no-expand-env",
        "-once",
    ]
    environment = child_environment(credential_environment(replica))
    done = process.run([*argv, "-force-snapshot"], env=environment, timeout_s=300)
    assert done.returncode == 0, done.stderr


def fill(path: Path, size: Size) -> None:
    """Make a workflow database; a value is half noise, half of it packs."""
    connection = open_owner(path)
    connection.pragma("synchronous", "off")
    chance = random.Random(7)
    noise = chance.randbytes(VALUE_BYTES * 10).hex()
    begun, live = 0, list[list[int]]()
    with connection:
        while begun < size.executions or live:
            if len(live) < SIDE_BY_SIDE and begun < size.executions:
                begun += 1
                live.append([begun, 0])
                _begin(connection, begun)
                continue
            one = chance.choice(live)
            results = size.results if one[0] % 2 == 0 else 4 * size.results
            if one[1] == results:
                live.remove(one)
                _finish(connection, one[0], 2 * results + 1)
                continue
            one[1] += 1
            at = chance.randrange(len(noise) - VALUE_BYTES)
            value = noise[at : at + VALUE_BYTES // 2].ljust(VALUE_BYTES, "0")
            _step(connection, one[0], one[1], value)
            if begun == size.executions and one[1] == size.results // 2:
                live.remove(one)
    connection.close()


def _begin(connection: apsw.Connection, key: int) -> None:
    connection.execute(
        "INSERT INTO state (key, id, function, state, created_at) VALUES (?, ?, ?, ?, ?)",
        (key, f"run-{key}", "sweep.train", "running", key),
    )
    _event(connection, key, 0, "created", '{"fn":"sweep.train","in":[]}')


def _step(connection: apsw.Connection, key: int, n: int, value: str) -> None:
    intended = f'{{"n":{n},"fn":"sweep.epoch","in":[],"try":1}}'
    _event(connection, key, 2 * n - 1, "intended", intended)
    _event(connection, key, 2 * n, "returned", f'{{"n":{n},"ok":"{value}"}}')


def _finish(connection: apsw.Connection, key: int, version: int) -> None:
    failed = key % 100 == 0
    error = '{"error":{"type":"sweep.Diverged","message":"loss is nan"}}'
    _event(connection, key, version, "finished", error if failed else '{"ok":7}')
    connection.execute(
        "UPDATE state SET state = 'finished', result = ?, finished_at = ? WHERE key = ?",
        ("error" if failed else "ok", version, key),
    )


def _event(connection: apsw.Connection, key: int, version: int, kind: str, body: str) -> None:
    connection.execute(
        "INSERT INTO log (key, at, kind, body) VALUES ((? << 32) + ?, ?, ?, ?)",
        (key, version, key * 1000 + version, kind, body),
    )
