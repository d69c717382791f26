"""Somebody else writes into our epoch: it is said at once, and our history goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from obelisk_ops import process
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.process import find_program
from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings, child_environment, credential_environment
from obelisk_ops.supervise.status import Row
from tests.hooks import Hook
from tests.machines import points, rows_at, rows_of
from tests.supervised import Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("second-writer")

#: It is told within a minute at the latest; while the database is written, much sooner.
SOON_S = 15


class Rival:
    """A copy of a database, and a Litestream that somebody has started for it by hand."""

    def __init__(self, original: Path, folder: Path, place: ReplicaSettings, key: str) -> None:
        folder.mkdir()
        self._path, self._place = folder / original.name, place
        with closing(sqlite3.connect(original)) as source, closing(self._open()) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=wal")
        target = {
            "type": "s3", "bucket": place.bucket, "endpoint": place.endpoint,
            "path": key.rstrip("/"), "region": place.region, "force-path-style": True,
        }  # fmt: skip
        self._config = folder / "litestream.yml"
        self._config.write_text(
            yaml.safe_dump({"dbs": [{"path": str(self._path), "replica": target}]})
        )

    def write(self) -> None:
        with closing(self._open()) as connection:
            connection.execute("INSERT INTO t VALUES ('of another machine')")
            connection.commit()

    @contextmanager
    def replicating(self) -> Iterator[None]:
        program = find_program("litestream")
        assert program is not None
        argv: list[str | Path] = [program, "replicate", "-config", self._config]
        child = process.spawn(argv, env=child_environment(credential_environment(self._place)))
        try:
            yield
        finally:
            child.kill()
            child.wait(timeout=120)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=5)


def is_told(row: Row) -> bool:
    return (row.state, row.reason) == ("fatal", "second_writer")


def goes_on(row: Row) -> bool:
    """Tell whether everything is in the next epoch; what happened is still being said."""
    return row.epoch == 2 and row.unsent_transactions == 0 and bool(row.replica_txid)


def live(supervised: Supervised, name: str = "a") -> list[Any]:
    return rows_of(supervised.folder / "runs" / f"{name}.db")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings, hook: Hook) -> Iterator[Supervised]:
    (tmp_path / "hook").touch(mode=0o600)
    (tmp_path / "hook").write_text(f"{hook.address}/page\n")
    with Supervised(tmp_path, replica, alerts={"webhook": "file:hook"}) as running:
        yield running


@pytest.mark.fault(18)
def test_a_litestream_that_was_started_by_hand(
    supervised: Supervised, hook: Hook, replica: ReplicaSettings, store: ObjectStore
) -> None:
    """Both write; as every setting is when nobody sets it."""
    keys = ReplicaKeys(prefix=replica.prefix, name="a")
    database = supervised.database("a")
    database.write(3)
    supervised.start()
    trusted = supervised.until_safe("a").replica_txid or 0
    rival = Rival(database.path, supervised.folder / "rival", replica, keys.epoch(1))

    def both_write(row: Row) -> bool:
        rival.write()
        database.write()
        return is_told(row)

    with rival.replicating():
        row = supervised.until("a", both_write, SOON_S, "told")
        assert row.detail.startswith("another program writes into e0001 since ")
        assert supervised.status()[1] == 9
        wait_until(lambda: hook.alerts, SOON_S, "somebody is paged")
        assert hook.alerts[0]["reason"] == "second_writer"
        reached = supervised.until("a", goes_on, SOON_S, "our history goes on").replica_txid
        rival.write()
        database.write()
        row = supervised.until(
            "a", lambda row: goes_on(row) and row.replica_txid != reached, SOON_S, "and on"
        )

    assert rows_at(supervised) == live(supervised), "whatever the other one does"
    assert [notice.code for notice in row.notices] == ["second_writer"]
    assert "another program wrote into e0001, which can be trusted up to" in row.detail
    _, second = read_epochs(store, keys)
    assert second.parent is not None
    ended = second.parent.txid or 0
    assert ended >= trusted
    old = [point for point in points(supervised) if point["epoch"] == 1]
    assert all(point["orphaned"] == (point["txid"] > ended) for point in old)


@pytest.mark.fault(17, 18)
def test_what_a_hand_puts_there(
    supervised: Supervised, replica: ReplicaSettings, store: ObjectStore
) -> None:
    """Over what we have shipped, behind it, and across it; while nobody writes."""
    supervised.configure(replica, litestream={"list_interval": "1s", "levels": ["1d"]})
    names = ("a", "behind", "across")
    for name in names:
        supervised.database(name).write(2)
    supervised.start()
    safe = {name: supervised.until_safe(name) for name in names}
    folder = {name: ReplicaKeys(prefix=replica.prefix, name=name).level(1, 0) for name in safe}
    last = {name: row.replica_txid or 0 for name, row in safe.items()}

    key = f"{folder['a']}{last['a']:016x}-{last['a']:016x}.ltx"
    shipped = store.get(key).body
    store.put(key, shipped[:-1] + bytes([shipped[-1] ^ 1]))  # as long as it was
    number = last["behind"] + 1
    store.put(f"{folder['behind']}{number:016x}-{number:016x}.ltx", shipped)
    number = last["across"]
    store.put(f"{folder['across']}{1:016x}-{number + 1:016x}.ltx", shipped)

    for name in safe:
        told = supervised.until(name, is_told, SOON_S, "told")
        assert "e0001 since " in told.detail
        supervised.until(name, goes_on, SOON_S, "it goes on in the next epoch")
    assert len(supervised.logged("second_writer")) == 3
    assert rows_at(supervised) == live(supervised)
