"""What lay among the databases and was none is not told of for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.settings import ReplicaSettings
from tests.supervised import Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("supervise")


@pytest.fixture
def supervised(tmp_path: Path, replica: ReplicaSettings) -> Iterator[Supervised]:
    with Supervised(tmp_path, replica) as running:
        yield running


def test_what_never_was_a_database_is_forgotten_when_it_is_gone(
    supervised: Supervised,
) -> None:
    database = supervised.database("a")
    database.write()
    folder = database.path.parent
    garbage, empty = folder / "garbage.db", folder / "empty.db"
    garbage.write_bytes(b"this is not a database" * 99)
    empty.touch()
    supervised.start()
    supervised.until_safe("a")
    supervised.until("garbage", lambda row: row.reason == "corrupt_database", 5, "told of")
    supervised.until("empty", lambda row: row.detail == "the file is empty", 5, "told of")
    assert supervised.status()[1] == 10

    garbage.unlink()
    empty.unlink()

    wait_until(lambda: supervised.status()[0].keys() == {"a"}, 10, "the others are forgotten")
    assert supervised.status()[1] == 0
    told = {line["database"] for line in supervised.logged("never_a_database")}
    assert told == {"garbage", "empty"}

    database.path.unlink()
    supervised.until("a", lambda row: row.detail == "the file is gone", 5, "it was a database")
    supervised.database("empty").write()
    supervised.until_safe("empty")
    assert supervised.status()[0].keys() == {"a", "empty"}
