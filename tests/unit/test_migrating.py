"""Which steps lead to the tables of today, and who has to end before."""

from __future__ import annotations

import pytest

from obelisk_ops.core.migrating import Migration, Plan, Program, Standing, newest, plan
from obelisk_ops.storage.postgres.migrations import MIGRATIONS, NEWEST

ADDS = Migration(version=2, does="add a column", oldest=1)
DROPS = Migration(version=3, does="drop another", oldest=2)
ADDS_MORE = Migration(version=4, does="add an index", oldest=2)
ALL = [ADDS, DROPS, ADDS_MORE]
OLD = Program(host="a", pid=1, knows=1)
NEW = Program(host="b", pid=2, knows=2)


@pytest.mark.parametrize(
    ("standing", "migrations", "steps", "in_the_way"),
    [
        (Standing(version=1, oldest=1), [], [], []),
        (Standing(version=1, oldest=1), [ADDS], [ADDS], []),
        (Standing(version=1, oldest=1), ALL, ALL, [OLD]),
        (Standing(version=2, oldest=1), ALL, [DROPS, ADDS_MORE], [OLD]),
        (Standing(version=3, oldest=2), ALL, [ADDS_MORE], [OLD]),
        (Standing(version=4, oldest=2), ALL, [], []),
        (
            Standing(version=5, oldest=2),
            ALL,
            [],
            [],
        ),  # of a newer program, and for this one, too
    ],
)
def test_what_is_to_be_done(
    standing: Standing,
    migrations: list[Migration],
    steps: list[Migration],
    in_the_way: list[Program],
) -> None:
    expected = Plan(version=standing.version, steps=steps, in_the_way=in_the_way)

    assert plan(standing, migrations, [OLD, NEW]) == expected
    assert expected.is_needed is bool(steps)


def test_where_nothing_is_all_is_made_at_once() -> None:
    made = plan(None, ALL, [])

    assert made == Plan(version=None)
    assert made.is_needed


def test_new_tables_are_as_those_that_came_all_the_way() -> None:
    assert newest([]) == Standing(version=1, oldest=1)
    assert newest(ALL) == Standing(version=4, oldest=2)


def test_the_steps_that_are_delivered_follow_one_another() -> None:
    assert [step.version for step in MIGRATIONS] == list(range(2, NEWEST.version + 1))
    assert all(1 <= step.oldest <= step.version for step in MIGRATIONS)
