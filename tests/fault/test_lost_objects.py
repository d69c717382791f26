"""What was in the bucket and is gone: noticed, said, and healed by an epoch of its own."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.status import Row
from tests.conftest import S3
from tests.faults import ShortList
from tests.proxy import Proxy
from tests.supervised import PROGRAM, Supervised, is_safe
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("lost-objects")

#: A fleet at rest is looked at once a minute; nobody waits here for that. Nothing is
#: compacted, so that each transaction is in one object.
OFTEN = {"sync_interval": "200ms", "list_interval": "1s", "levels": ["1d"]}


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.fixture
def supervised(tmp_path: Path, proxy: Proxy, replica: ReplicaSettings) -> Iterator[Supervised]:
    place = replace(replica, endpoint=proxy.endpoint)
    with Supervised(tmp_path, place) as running:
        running.configure(place, litestream=OFTEN)
        yield running


class Objects:
    """What the bucket holds of one database, by level."""

    def __init__(self, store: ObjectStore, replica: ReplicaSettings, name: str) -> None:
        self._store = store
        self._keys = ReplicaKeys(prefix=replica.prefix, name=name)

    def of(self, level: int) -> list[str]:
        return [info.key for info in self._store.list(self._keys.level(1, level))]

    def holding(self, txid: int) -> list[str]:
        """What a transaction is in: as it was shipped, and compacted."""
        names = [(key, key[-37:-4].split("-")) for n in range(10) for key in self.of(n)]
        return [key for key, span in names if int(span[0], 16) <= txid <= int(span[1], 16)]

    def delete(self, *keys: str) -> None:
        for key in keys:
            self._store.delete(key)


def written(supervised: Supervised, name: str, *, transactions: int) -> None:
    """Let a database have so many transactions in the bucket."""
    database = supervised.database(name)
    for wanted in range((supervised.until_safe(name).replica_txid or 0) + 1, transactions + 1):
        database.write()
        supervised.until(name, partial(has_sent, wanted), 10, f"{wanted} transactions")


def has_sent(transactions: int, row: Row) -> bool:
    return is_safe(row) and (row.replica_txid or 0) >= transactions


def is_without_snapshot(row: Row) -> bool:
    return row.state == "ok" and [notice.code for notice in row.notices] == ["no_snapshot"]


def until_it_is_said(supervised: Supervised, name: str) -> None:
    """Wait until it was told; by now it may be mended, and `status` speak of that."""
    words = " gone from the bucket since "

    def is_told() -> bool:
        row, states = supervised.row(name), supervised.logged("state")
        said = [(one["state"], one["detail"]) for one in states if one["database"] == name]
        said += [(row.state, row.detail)] if row else []
        return any(state == "lagging" and words in detail for state, detail in said)

    wait_until(is_told, 15, "what is lost is said, and is unsent again")


def is_healed(row: Row) -> bool:
    return is_safe(row) and row.epoch == 2


@pytest.mark.fault(11, 14, 16)
def test_what_is_gone_while_it_runs(
    supervised: Supervised, proxy: Proxy, store: ObjectStore, replica: ReplicaSettings
) -> None:
    """A short listing is no loss; a lost snapshot is said; a lost middle is healed."""
    supervised.database("a").write()
    supervised.start()
    written(supervised, "a", transactions=4)
    objects = Objects(store, replica, "a")

    with proxy.fault(ShortList(99), path=f"^/{replica.bucket}/?$"):
        said = "transactions 1 to 4 are not listed any more; asking"
        row = supervised.until("a", lambda row: row.detail.startswith(said), 5, "asks again")
        assert row.state == "unknown"
    supervised.until_safe("a")
    assert supervised.logged("lost_objects") == []

    objects.delete(*objects.of(9))
    supervised.until("a", is_without_snapshot, 5, "says that there is no snapshot")
    assert restored(supervised, "a") == live(supervised, "a"), "it is still restorable"

    objects.delete(*objects.holding(3))
    until_it_is_said(supervised, "a")
    row = supervised.until("a", is_healed, 20, "healed by a new epoch")
    assert restored(supervised, "a") == live(supervised, "a")
    assert [notice.code for notice in row.notices] == ["lost_objects"]
    assert "transaction 3 of e0001 was lost from the bucket" in row.detail


@pytest.mark.fault(15)
def test_the_newest_objects_are_gone(
    supervised: Supervised, store: ObjectStore, replica: ReplicaSettings
) -> None:
    """While it runs; and after a restart at which only the ledger knows of them."""
    supervised.database("a").write()
    supervised.database("b").write()
    supervised.start()
    written(supervised, "a", transactions=3)
    written(supervised, "b", transactions=4)

    objects = Objects(store, replica, "a")
    objects.delete(*objects.holding(3))
    until_it_is_said(supervised, "a")
    supervised.until("a", is_healed, 20, "healed by a new epoch")
    assert restored(supervised, "a") == live(supervised, "a")

    supervised.stop()
    objects = Objects(store, replica, "b")
    objects.delete(*objects.holding(3), *objects.holding(4))
    shutil.rmtree(Sidecar(supervised.folder / "runs" / "b.db").meta(1))
    supervised.start()
    until_it_is_said(supervised, "b")
    supervised.until("b", is_healed, 20, "healed by a new epoch")
    assert restored(supervised, "b") == live(supervised, "b")


def live(supervised: Supervised, name: str) -> list[tuple[object, ...]]:
    return rows_of(supervised.folder / "runs" / f"{name}.db")


def restored(supervised: Supervised, name: str) -> list[tuple[object, ...]]:
    copy = supervised.folder / "copy.db"
    copy.unlink(missing_ok=True)
    command: list[str | Path] = [
        PROGRAM,
        "-c",
        supervised.config,
        "restore",
        name,
        "--to",
        copy,
    ]
    subprocess.run(command, check=True, timeout=180, stdout=subprocess.DEVNULL)
    return rows_of(copy)


def rows_of(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM t ORDER BY rowid").fetchall()
