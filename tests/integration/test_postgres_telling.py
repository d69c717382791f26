"""
Who wakes others does so behind its commit, and not in it.

All who notify in their commits commit one after the other, each for as long as its sync takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from hashlib import md5
from typing import Any

import pytest

from obelisk_ops.core.ports import State, StateChange, StateRow, Write
from obelisk_ops.core.rows import TaskRow
from obelisk_ops.storage import open_mailbox
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.listening import Listener
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import QUERIES
from obelisk_ops.storage.postgres.store import PostgresStore
from tests.postgres import Postgres
from tests.support import wait_until

#: what is rare, or is asked for by one after the other anyway; and what need not be synced
TOGETHER = {"drop_tasks", "note_gift", "post_letter", "release_tasks", "tell_waiting"}
PENDING = StateRow(key=1, id="e", function="f", state=State.PENDING, created_at=1)
FINISHED = StateChange(key=1, state=State.FINISHED, finished_at=2)


@pytest.fixture
def at(postgres: Postgres) -> Iterator[Place]:
    with postgres.lent() as url:
        yield place.read(url)


@pytest.fixture
def store(at: Place) -> Iterator[PostgresStore]:
    with closing(PostgresStore(at)) as store:
        assert store.commit([Write(1, [(1, 0, 1, "created", "{}")], created=[PENDING])]) == {}
        yield store


def heard(ears: Listener, word: str) -> bool:
    """Tell whether a word comes."""
    said: list[str] = []

    def comes() -> bool:
        said.extend(ears.hear() or ())
        return word in said

    return bool(wait_until(comes, 10, f"{word} is heard"))


def test_no_statement_that_is_synced_and_frequent_wakes_others() -> None:
    both = {
        name for name, text in QUERIES.items()
        if "pg_notify" in text and re.search(r"\b(INSERT|UPDATE|DELETE)\b", text)
    }  # fmt: skip
    assert both == TOGETHER


def test_who_begins_to_wait_until_an_end_can_be_seen_is_told(
    at: Place, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = store._session.run
    with closing(open_mailbox(at)) as client, closing(Listener(at)) as ears:

        def run(steps: Any) -> None:
            *others, last = steps
            commit(others)
            client.note_waiting("e")  # who looks now sees no end
            commit([last])

        monkeypatch.setattr(store._session, "run", run)
        assert store.commit([Write(1, [], changed=[FINISHED])]) == {}

        name = md5(b"e", usedforsecurity=False).hexdigest()
        assert heard(ears, f"end {name}")


def test_who_may_claim_is_told(at: Place, store: PostgresStore) -> None:
    offered = TaskRow(
        execution=1, n=1, attempt=1, id="e", function="f", manner="{}", input="[]", queue="gpu"
    )
    with closing(Listener(at, is_task=True)) as ears:
        assert store.commit([Write(1, [], tasks=[offered])]) == {}

        assert heard(ears, "queue gpu")


def test_a_word_that_cannot_be_said_does_not_undo_what_was_done(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(QUERIES, "tell_waiting", "SELECT 1 / 0 WHERE $1 <> $2")

    assert store.commit([Write(1, [], changed=[FINISHED])]) == {}
    assert store.commit([Write(1, [(1, 1, 2, "finished", '{"ok":1}')])]) == {}
    assert store.get(1).state is State.FINISHED


def test_nothing_is_kept_of_who_waited(
    at: Place, store: PostgresStore, postgres: Postgres
) -> None:
    def noted() -> list[tuple[object, ...]]:
        return postgres.psql(f"TABLE {at.schema}.waiter")

    store.note_waiting("e")
    assert noted() == [("e",)]
    assert store.commit([Write(1, [], changed=[FINISHED])]) == {}
    assert noted() == []

    store.note_waiting("e")  # late: it looks next, and sees the end
    assert noted() == []

    # As who began to wait in the moment of the end leaves it.
    postgres.psql(f"INSERT INTO {at.schema}.waiter VALUES ('e')")  # noqa: S608 - a name of ours
    assert store.commit([Write(1, [], pruned=[(1, 0, 0)])]) == {}
    assert noted() == []
