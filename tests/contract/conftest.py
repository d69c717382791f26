"""One fixture, every backend. A new backend is one more entry of BACKENDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.ports import Mailbox
from obelisk_ops.storage.memory import MemoryStore
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.asking import PostgresMailbox
from obelisk_ops.storage.postgres.store import PostgresStore
from obelisk_ops.storage.sqlite.store import SqliteMailbox, SqliteStore
from tests.pooler import Pooler
from tests.postgres import Postgres

Both = tuple[ArchiveStore, Mailbox]


def memory(_folder: Path, _stack: ExitStack) -> Both:
    store = MemoryStore()
    return store, store


def sqlite(folder: Path, stack: ExitStack) -> Both:
    path = folder / "log.db"
    store = stack.enter_context(closing(SqliteStore(path)))
    return store, stack.enter_context(closing(SqliteMailbox(path)))


BACKENDS: dict[str, Callable[[Path, ExitStack], Both]] = {"memory": memory, "sqlite": sqlite}


def postgres(server: Postgres, stack: ExitStack) -> Both:
    at = place.read(stack.enter_context(server.lent()))
    store = stack.enter_context(closing(PostgresStore(at)))
    return store, stack.enter_context(closing(PostgresMailbox(at)))


def pooled(server: Postgres, pooler: Pooler, stack: ExitStack) -> Both:
    at = place.read(pooler.through(stack.enter_context(server.lent())))
    store = stack.enter_context(closing(PostgresStore(at)))
    return store, stack.enter_context(closing(PostgresMailbox(at)))


#: the statements are the same; a slice is tests/integration/test_pooler.py
POOLED = pytest.param("pooled", marks=pytest.mark.chaos)


@pytest.fixture(params=[*BACKENDS, "postgres", POOLED])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    """The owner's side of an empty database, and what others may do with it."""
    with ExitStack() as stack:
        if request.param == "postgres":
            yield postgres(request.getfixturevalue("postgres"), stack)
            return
        if request.param == "pooled":
            server, pooler = map(request.getfixturevalue, ("postgres", "pooler"))
            yield pooled(server, pooler, stack)
            return
        yield BACKENDS[request.param](tmp_path, stack)


@pytest.fixture
def store(both: Both) -> ArchiveStore:
    return both[0]


@pytest.fixture
def mailbox(both: Both) -> Mailbox:
    return both[1]
