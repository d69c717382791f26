"""What a store on PostgreSQL has to do beyond the contract: owners, and lost connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from msgspec import Raw

from obelisk_ops import errors
from obelisk_ops.core import requests
from obelisk_ops.core.ports import LogRow, State, StateRow, Write
from obelisk_ops.storage.postgres import making, owning, place, session
from obelisk_ops.storage.postgres.asking import PostgresMailbox
from obelisk_ops.storage.postgres.owning import Ownership
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.store import (
    PostgresReader,
    PostgresStore,
)
from tests.databases import as_typed
from tests.postgres import Postgres, with_option


@pytest.fixture
def at(postgres: Postgres) -> Iterator[Place]:
    """A schema with empty tables."""
    with postgres.lent() as url:
        making.make_if_missing(place.read(url))
        yield place.read(url)


@pytest.fixture
def store(at: Place) -> Iterator[PostgresStore]:
    with closing(PostgresStore(at)) as opened:
        yield opened


def event(key: int, version: int, body: str = "{}") -> LogRow:
    return (key, version, 5, "returned", body)


def creation(key: int, name: str) -> Write:
    row = StateRow(key=key, id=name, function="m.f", state=State.RUNNING, created_at=1)
    return Write(key, [event(key, 0)], created=[row])


def cut(store: PostgresReader, server: Postgres) -> None:
    """End the connection of a store behind its back."""
    pid = store._session._connection.info.backend_pid
    server.psql(f"SELECT pg_terminate_backend({pid}, 10000)")


def test_two_workers_have_a_row_each_and_one_is_the_keeper(
    at: Place, store: PostgresStore
) -> None:
    with closing(PostgresStore(at)) as other:
        assert (store.id, store.is_keeper) != (other.id, other.is_keeper)
        assert store.is_keeper
        assert not other.is_keeper
        keys = [next(iter(one.draw_keys())) for one in (store, other)]
        assert store.commit([creation(keys[0], "a")]) == {}
        assert other.commit([creation(keys[1], "b")]) == {}

        assert [row.id for row in store.unfinished()] == ["a"]
        assert [row.id for row in other.unfinished()] == ["b"]
        assert store.is_mine(keys[0])
        assert not store.is_mine(keys[1])


@pytest.mark.parametrize("closed", [True, False])
def test_the_next_owner_knows_how_the_last_one_ended(at: Place, closed: bool) -> None:  # noqa: FBT001
    first = PostgresStore(at)
    assert first.last_owner_closed or not closed
    first.close() if closed else first.abandon()

    with closing(PostgresStore(at)) as second:
        assert second.last_owner_closed is closed


@pytest.mark.parametrize("size", [1, 3])
def test_an_owner_whose_connection_was_cut_goes_on(
    store: PostgresStore, postgres: Postgres, size: int
) -> None:
    store.commit([creation(1, "a"), creation(2, "b"), creation(3, "c")])
    before = store._session.term

    cut(store, postgres)
    writes = [Write(key, [event(key, 1)]) for key in range(1, size + 1)]
    with pytest.raises(errors.StorageUnavailable):
        store.commit(writes)

    assert store.commit(writes) == {}
    assert [len(store.log(key)) for key in range(1, size + 1)] == [2] * size
    assert store._session.term == before


def test_who_reads_connects_again(at: Place, store: PostgresStore, postgres: Postgres) -> None:
    store.commit([creation(1, "a")])
    with closing(PostgresMailbox(at)) as mailbox:
        cut(mailbox, postgres)
        assert mailbox.get(1).id == "a"
        cut(mailbox, postgres)
        assert mailbox.ask("cancel", "a", "{}", now_ms=5)
    assert len(store.letters(9)) == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_a_letter_whose_commit_had_no_answer_is_posted_once(
    at: Place,
    store: PostgresStore,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,  # noqa: FBT001
) -> None:
    store.commit([creation(1, "a")])
    signal = requests.encode(requests.Signal(name="go", value=Raw(b"1")))
    with closing(PostgresMailbox(at)) as mailbox:
        loses_its_answer(monkeypatch, mailbox, postgres, arrives=arrives)
        assert mailbox.ask("signal", "a", signal, now_ms=5)

        [letter] = store.letters(9)
        assert letter.id == mailbox.last_letter
        assert mailbox.ask("signal", "a", signal, now_ms=6)
        assert len(store.letters(9)) == 2


GROUPS: dict[str, list[Write]] = {
    "a lone step": [Write(1, [event(1, 1)])],
    "a group": [Write(1, [event(1, 1)]), creation(7, "g")],
    "a group with a guilty one": [Write(1, [event(1, 1)]), creation(8, "a"), creation(9, "h")],
    "beats alone": [Write(1, [], beats=[(1, 1, 1, 5, "{}")])],
    "output": [Write(1, [], outputs=[(1, 1, 1, 1, "stdout", 5, "x")])],
}


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_without_an_answer_is_done_once(
    store: PostgresStore,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    group: str,
    arrives: bool,  # noqa: FBT001
) -> None:
    store.commit([creation(1, "a"), creation(2, "b")])
    writes = GROUPS[group]
    loses_its_answer(monkeypatch, store, postgres, arrives=arrives)

    with pytest.raises(errors.StorageUnavailable):
        store.commit(writes)
    refused = store.commit([*writes, Write(2, [event(2, 1)])])

    assert [type(error) for error in refused.values()] == (
        [errors.ExecutionExists] if "guilty" in group else []
    )
    assert len(store.log(1)) == (2 if writes[0].log else 1)
    assert len(store.log(2)) == 2
    assert store._unheard == []


def loses_its_answer(
    monkeypatch: pytest.MonkeyPatch, store: PostgresReader, server: Postgres, *, arrives: bool
) -> None:
    """Cut the line of the next commit, before it reaches the server or after it did."""
    own = store._session
    for name in ("run", "run_one"):
        whole = getattr(own, name)

        def cutting(*args: Any, whole: Any = whole) -> None:
            is_last = isinstance(args[0], str) or args[0][-1][0] == "COMMIT"
            if not is_last:
                whole(*args)
                return
            if arrives:
                whole(*args)
            cut(store, server)
            monkeypatch.undo()
            own.drop()
            raise psycopg.OperationalError("the line is cut")

        monkeypatch.setattr(own, name, cutting)


def test_what_arrived_without_an_answer_is_acknowledged_by_one_to_a_later_commit(
    store: PostgresStore, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the server gives once a standby has both."""
    store.commit([creation(1, "a")])
    loses_its_answer(monkeypatch, store, postgres, arrives=True)
    with pytest.raises(errors.StorageUnavailable):
        store.commit(GROUPS["a lone step"])

    assert store.commit(GROUPS["a lone step"]) == {}
    assert len(store.log(1)) == 2
    assert store._session.commits == 3


@pytest.mark.parametrize("is_gone", [True, False], ids=["is gone", "is there"])
def test_an_owner_that_was_succeeded_while_it_was_away_is_fenced(
    at: Place,
    store: PostgresStore,
    postgres: Postgres,
    is_gone: bool,  # noqa: FBT001
) -> None:
    store.commit([creation(1, "a")])
    cut(store, postgres)
    late = [Write(1, [event(1, 2, '"old"')])]

    with ExitStack() as stack:
        successor = stack.enter_context(closing(PostgresStore(at)))
        successor.commit([Write(1, [event(1, 1, '"new"')])])
        if is_gone:
            successor.close()
        with pytest.raises(errors.StorageUnavailable):
            store.commit(late)
        for _ in range(2):
            with pytest.raises(errors.Fenced):
                store.commit(late)

    with closing(PostgresReader(at)) as reader:
        assert [found.body for found in reader.log(1)] == ["{}", '"new"']


@pytest.mark.parametrize("size", [1, 3])
def test_where_locks_mean_nothing_the_term_still_does(
    store: PostgresStore, postgres: Postgres, at: Place, size: int
) -> None:
    """As behind a pooler that gives each transaction another connection."""
    store.commit([creation(1, "a"), creation(2, "b"), creation(3, "c")])
    postgres.psql(f"UPDATE {at.schema}.worker SET (term, writer) = (99, 99)")  # noqa: S608

    with pytest.raises(errors.Fenced):
        store.commit([Write(key, [event(key, 1)]) for key in range(1, size + 1)])

    assert [len(store.log(key)) for key in (1, 2, 3)] == [1, 1, 1]


def test_a_server_that_has_lost_commits_is_not_written_to(
    store: PostgresStore, postgres: Postgres, at: Place
) -> None:
    """As when a standby that lagged has taken its place."""
    store.commit([creation(1, "a")])
    store.commit([Write(1, [event(1, 1)])])
    postgres.psql(f"UPDATE {at.schema}.worker SET commits = 1")  # noqa: S608
    postgres.psql(f"DELETE FROM {at.schema}.log WHERE key = (1::bigint << 32) + 1")  # noqa: S608
    cut(store, postgres)
    next_step = [Write(1, [event(1, 2)])]

    with pytest.raises(errors.StorageUnavailable):
        store.commit(next_step)
    for _ in range(2):
        with pytest.raises(errors.VerificationFailed, match="has lost 1 commit that it had"):
            store.commit(next_step)

    store.abandon()
    with closing(PostgresStore(at)) as successor:
        assert len(successor.log(1)) == 1
        assert successor.commit([Write(1, [event(1, 1)])]) == {}


def test_who_was_let_in_and_is_refused_waits(
    store: PostgresStore, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without room refuses in the same way as one that knows the user no more."""
    store.commit([creation(1, "a")])
    cut(store, postgres)
    monkeypatch.setattr(owning, "_READ_PAUSE_S", 0.0)
    connect, refusals = session.connect, iter(range(3))

    def refuse(at: Place) -> Any:
        if next(refusals, None) is not None:
            raise errors.CredentialsError("too many connections for role")
        return connect(at)

    monkeypatch.setattr(session, "connect", refuse)

    assert store.get(1).id == "a"
    assert next(refusals, None) is None


def test_who_reads_for_a_workflow_gives_up_by_the_clock(
    store: PostgresStore, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(store, postgres)
    passed_ms = iter([0, 15_000, 30_000])
    monkeypatch.setattr(owning._clock, "elapsed_ms", lambda: next(passed_ms))
    monkeypatch.setattr(owning, "_READ_PAUSE_S", 0.0)
    tries = []

    def swallow(_at: Place) -> Any:
        tries.append(1)
        raise errors.StorageUnavailable("nothing comes back")

    with monkeypatch.context() as patch:
        patch.setattr(session, "connect", swallow)
        with pytest.raises(errors.StorageUnavailable, match="nothing comes back"):
            store.log(1)

    assert len(tries) == 3


def test_a_server_that_is_gone_without_a_word_is_given_up(at: Place) -> None:
    """Not in hours, as the system would; what the URL says goes before."""
    other = replace(at, url=with_option(at.url, "keepalives_idle=99"))
    with closing(session.connect(at)) as line, closing(session.connect(other)) as told:
        assert line.info.get_parameters()["tcp_user_timeout"] == "25000"
        assert line.info.get_parameters()["keepalives_idle"] == "10"
        assert told.info.get_parameters()["keepalives_idle"] == "99"


@pytest.mark.parametrize("size", [1, 3])
def test_an_owner_waits_not_for_ever_for_a_server_that_says_nothing(
    store: PostgresStore, postgres: Postgres, at: Place, size: int
) -> None:
    store.commit([creation(1, "a"), creation(2, "b"), creation(3, "c")])
    own = store._session
    own._connection.looks_most = 3
    own._cursor.execute("SET lock_timeout = 0")
    writes = [Write(key, [event(key, 1)]) for key in range(1, size + 1)]

    with psycopg.connect(at.url) as other:
        other.execute(f"LOCK TABLE {at.schema}.log".encode())
        with pytest.raises(errors.StorageUnavailable, match="does not answer"):
            store.commit(writes)
        assert own.is_lost

    assert store.commit(writes) == {}
    assert [len(store.log(key)) for key in range(1, size + 1)] == [2] * size


def test_a_letter_is_heard_also_in_a_schema_of_the_longest_name(postgres: Postgres) -> None:
    fresh = place.read(postgres.fresh_url())
    letters = replace(fresh, schema="s" * 63).channel()
    with closing(session.connect(fresh)) as line:
        line.execute(f'LISTEN "{letters}"'.encode())
        postgres.psql(f"SELECT pg_notify('{letters}', '')")
        assert [one.channel for one in line.notifies(timeout=60, stop_after=1)] == [letters]


def test_the_ghost_of_a_lost_connection_is_ended(at: Place) -> None:
    """The server believes it alive, as after a cut cable, and would keep the lock for it."""
    ghost = Ownership(at)
    mine = ghost._connection
    ghost._connection = session.connect(at)
    ghost._connection.close()

    ghost.ensure()

    assert ghost.term > 0
    with pytest.raises(psycopg.OperationalError):
        mine.execute("SELECT 1")
    ghost.close()


def test_a_server_that_is_away_is_named_without_the_password(tmp_path: Any) -> None:
    for url in (
        f"postgresql://u:s3cret@/d?host={tmp_path}", "postgresql://u:s3cret@127.0.0.1:1/d",
        "postgresql://u:s3cret@127.0.0.1:1/d?nonsense=s3cret",
    ):  # fmt: skip
        with pytest.raises(errors.OpsError) as refused:
            PostgresStore(place.read(url))
        assert refused.value.exit_status in (3, 6)
        assert "s3cret" not in f"{refused.value.message} {refused.value.hint}"


def test_what_a_crash_could_undo_is_not_acknowledged(at: Place, postgres: Postgres) -> None:
    off = "options=-c%20synchronous_commit%3Doff"
    hasty = place.read(with_option(as_typed(at), off))
    with closing(PostgresStore(hasty)) as opened:
        [(level,)] = opened._session._connection.execute("SHOW synchronous_commit")
        assert level == "on"


def test_a_lone_step_is_one_statement_and_a_group_is_sent_at_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit([creation(1, "a"), creation(2, "b")])
    sent: list[str] = []
    own = store._session

    def noting(name: str, whole: Any) -> Any:
        def call(*args: Any) -> None:
            sent.append(name)
            whole(*args)

        return call

    for name in ("run", "run_one"):
        monkeypatch.setattr(own, name, noting(name, getattr(own, name)))

    store.commit([Write(1, [event(1, 1), event(1, 2)])])
    store.commit([Write(key, [event(key, 3)], timers=[(key, 1, 9)]) for key in (1, 2)])

    assert sent == ["run_one", "run"]
