"""The short way of one statement: what comes of it is what comes of it the long way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from obelisk_ops.storage import make_if_missing
from obelisk_ops.storage.postgres import place, session
from obelisk_ops.storage.postgres.line import Line
from tests.postgres import Postgres

INSERT = "INSERT INTO log (key, at, kind, body) VALUES ($1, $2, 'k', $3)"
COUNT = "SELECT count(*), sum(length(body)) FROM log"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.lent() as lent:
        make_if_missing(place.read(lent))
        yield lent


@pytest.fixture
def line(url: str) -> Iterator[Line]:
    with closing(session.connect(place.read(url))) as connection:
        yield connection


def test_what_is_longer_than_a_socket_takes_at_once_arrives(line: Line) -> None:
    for key in (1, 2):
        line.run_prepared(INSERT, (b"%d" % key, b"1", b"x" * (8 << 20)))

    assert line.execute(COUNT).fetchone() == (2, 2 * (8 << 20))


def test_an_error_says_what_it_is_and_the_line_goes_on(line: Line) -> None:
    line.run_prepared(INSERT, (b"1", b"1", b"once"))
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        line.run_prepared(INSERT, (b"1", b"1", b"twice"))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        line.run_prepared(INSERT, (b"one", b"1", b"no number"))
    line.run_prepared(INSERT, (b"2", b"1", b"again"))

    assert refused.value.diag.constraint_name == "log_pkey"
    assert line.execute(COUNT).fetchone() == (2, len("once" + "again"))


def test_a_server_that_says_nothing_is_given_up(url: str, line: Line) -> None:
    line.looks_most = 3
    line.execute("SET lock_timeout = 0")
    with closing(session.connect(place.read(url))) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE log")
        with pytest.raises(psycopg.OperationalError, match="does not answer"):
            line.run_prepared(INSERT, (b"1", b"1", b""))
        assert line.closed
        with pytest.raises(psycopg.OperationalError):
            line.run_prepared(INSERT, (b"1", b"1", b""))


def test_a_line_that_was_cut_is_lost(postgres: Postgres, line: Line) -> None:
    line.run_prepared(INSERT, (b"1", b"1", b""))
    postgres.psql(f"SELECT pg_terminate_backend({line.info.backend_pid}, 10000)")

    with pytest.raises(psycopg.OperationalError):
        line.run_prepared(INSERT, (b"2", b"1", b""))
    assert line.closed


def test_what_the_driver_forgets_behind_a_rollback_is_prepared_again(line: Line) -> None:
    delete = "DELETE FROM log WHERE key = $1"
    line.run_prepared(INSERT, (b"1", b"1", b""))
    line.run_prepared(delete, (b"7",))
    for _ in range(10):
        line.execute(COUNT, prepare=True)
    line.execute("BEGIN")
    line.execute("ROLLBACK")
    assert line.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)

    line.run_prepared(INSERT, (b"2", b"1", b""))
    line.run_prepared(delete, (b"1",))
    line.run_prepared(INSERT, (b"3", b"1", b""))
    assert line.execute(COUNT).fetchone() == (2, 0)
