"""The tables in PostgreSQL: many make them, and what is not ours is left alone."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from obelisk_ops import errors
from obelisk_ops.storage.postgres import making, place, session
from obelisk_ops.storage.postgres.asking import PostgresMailbox
from obelisk_ops.storage.postgres.store import PostgresReader, PostgresStore
from tests.postgres import Postgres


def test_many_make_the_tables_at_the_same_time(postgres: Postgres) -> None:
    at = place.read(postgres.fresh_url())
    with ExitStack() as stack:
        lines = [stack.enter_context(closing(session.connect(at))) for _ in range(3)]
        assert all(session.is_missing(line, at) for line in lines)
        assert [making._make(line, at) for line in lines] == [
            True, False, False,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("UPDATE {}.meta SET value = 2 WHERE key LIKE '%_version'", "schema version 2"),
        ("DELETE FROM {}.meta", "belongs to another program"),
        ("DROP TABLE {}.meta", "belongs to another program"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(
    postgres: Postgres, statement: str, match: str
) -> None:
    at = place.read(postgres.fresh_url())
    making.make_if_missing(at)
    postgres.psql(statement.format(at.schema))

    for opener in (PostgresStore, PostgresReader, PostgresMailbox, making.is_made):
        with pytest.raises(errors.ConfigError, match=match):
            opener(at)


def test_nothing_is_found_where_nothing_was_made(postgres: Postgres) -> None:
    at = place.read(postgres.fresh_url())

    assert not making.is_made(at)
    for opener in (PostgresReader, PostgresMailbox):
        with pytest.raises(errors.DatabaseNotFound):
            opener(at)
    assert making.make_if_missing(at)
    assert not making.make_if_missing(at)
