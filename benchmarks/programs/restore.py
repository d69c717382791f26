"""
A restore with all its checks, beside ``litestream restore`` alone, which checks nothing.

The same replica, the same S3 server on this machine, one after the other in turns. Ours is the
whole command: listing, planning, Litestream, SQLite's check, syncing and publishing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import apsw
import yaml

from obelisk_ops.litestream import program, restoring
from obelisk_ops.litestream.config import Target
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.replica.epochs import EpochMarker, open_epoch
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings, child_environment, credential_environment

ONCE = True
SIZES = {"full": (1 << 30, 3), "tiny": (8 << 20, 1)}
_ROW_BYTES = 700


def measure(folder: Path, size: tuple[int, int]) -> dict[str, float]:
    """Return the figures of a database of so many bytes, restored so many times each."""
    database_bytes, rounds = size
    with S3Server(folder / "s3", bucket="bench") as server:
        place = server.replica("bench")
        keys = ReplicaKeys(prefix=place.prefix, name="run")
        _replicate(folder, place, keys, database_bytes)
        alone, ours = [], []
        for number in range(rounds):
            alone.append(_alone(folder, place, keys, folder / f"alone-{number}.db"))
            ours.append(_ours(folder, place, folder / f"ours-{number}.db"))
    return {
        "seconds": median(ours),
        "alone_s": median(alone),
        "of_litestream": median(one / other for one, other in zip(ours, alone, strict=True)),
    }


def _replicate(folder: Path, place: ReplicaSettings, keys: ReplicaKeys, size: int) -> None:
    path = folder / "run.db"
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 1024)
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE t (x)")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO t SELECT hex(randomblob(?)) FROM n",
        (size // 1024, _ROW_BYTES // 2),
    )
    connection.close()
    open_epoch(open_store(place), keys, EpochMarker(
        epoch=1, parent=None, database_id=None, host="here", inode=1, opened_at_ms=0, owner="o"
    ))  # fmt: skip
    config = folder / "litestream.yml"
    config.write_text(restoring.to_yaml(_target(place, keys), path))
    command = [*program.replicate_argv(program.find(), config), "-once"]
    subprocess.run(command, env=_environment(place), check=True, capture_output=True)


def _alone(folder: Path, place: ReplicaSettings, keys: ReplicaKeys, output: Path) -> float:
    config, database = folder / "restore.yml", folder / "x.db"
    config.write_text(restoring.to_yaml(_target(place, keys), database))
    argv = restoring.argv(
        program.find(), config=config, database=database, txid=1, output=output
    )
    began = perf_counter()
    subprocess.run(argv, env=_environment(place), check=True, capture_output=True)
    taken = perf_counter() - began
    output.unlink()
    return taken


def _ours(folder: Path, place: ReplicaSettings, output: Path) -> float:
    config = folder / "obelisk-ops.yml"
    replica = {"url": place.url, "endpoint": place.endpoint, "region": place.region}
    settings = {"replica": replica | {"credentials": place.credentials}, "databases": []}
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "obelisk_ops", "-c", str(config), "restore", "run", "--to"]
    began = perf_counter()
    subprocess.run([*command, str(output)], check=True, capture_output=True)
    taken = perf_counter() - began
    output.unlink()
    return taken


def _target(place: ReplicaSettings, keys: ReplicaKeys) -> Target:
    return Target(
        bucket=place.bucket, path=keys.epoch(1).rstrip("/"), region=place.region,
        endpoint=place.endpoint,
    )  # fmt: skip


def _environment(place: ReplicaSettings) -> dict[str, str]:
    return child_environment(credential_environment(place))
