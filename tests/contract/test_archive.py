"""What every store promises about what is over: finding it, weighing it, letting it go."""

from __future__ import annotations

from typing import Any

import pytest

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.core.rows import PrunedRow
from obelisk_ops.errors import ExecutionNotFound

ALL = 1 << 40


def put(store: ArchiveStore, key: int, name: str, *, events: int = 2, **facts: Any) -> None:
    given: dict[str, Any] = {
        "function": "m.f", "state": State.FINISHED, "created_at": 1, "finished_at": key * 10,
    } | facts  # fmt: skip
    row = StateRow(key=key, id=name, **given)
    log = [(key, version, 5, "returned", '"é"') for version in range(events)]
    inbox = [(key, seq, "timer", 1, 5, "{}") for seq in range(1, events)]
    assert store.commit([Write(key, log, created=[row], inbox=inbox)]) == {}


def prune(store: ArchiveStore, *rows: PrunedRow) -> None:
    assert store.commit([Write(0, [], pruned=rows)]) == {}


def names(rows: list[StateRow]) -> list[str]:
    return [row.id for row in rows]


def a_family(store: ArchiveStore) -> None:
    put(store, 1, "a")
    put(store, 2, "a/1", parent=1, parent_n=1)
    put(store, 3, "a/1/1", parent=2, parent_n=1, state=State.BLOCKED)
    put(store, 4, "a/2")  # scheduled: nobody's child
    put(store, 5, "a/2/1", parent=4, parent_n=1)
    put(store, 6, "a0")
    put(store, 7, "b", state=State.RUNNING)


def test_what_is_over_is_found_by_key(store: ArchiveStore) -> None:
    a_family(store)

    assert names(store.finished_roots(0, ALL)) == ["a", "a/2", "a0"]
    assert names(store.finished_roots(1, 5)) == ["a/2"]
    assert store.finished_roots(6, 6) == []


def test_what_is_below_is_found_newest_first(store: ArchiveStore) -> None:
    a_family(store)

    assert names(store.below("a", ALL, 9)) == ["a/2/1", "a/1/1", "a/1"]
    assert names(store.below("a", 5, 1)) == ["a/1/1"]
    assert names(store.unfinished_below("a")) == ["a/1/1"]
    assert store.below("b", ALL, 9) == store.unfinished_below("a/2") == []


def test_the_last_link_of_a_chain(store: ArchiveStore) -> None:
    for key, name in enumerate(["a", "a~2", "a~9", "a~10", "a~10/3", "a/1~2", "b~2"], start=1):
        put(store, key, name)

    assert [row and row.id for row in map(store.newest_link, ("a", "a/1", "b", "c"))] == [
        "a~10", "a/1~2", "b~2", None,
    ]  # fmt: skip


def test_the_newest_of_each_function(store: ArchiveStore) -> None:
    a_family(store)
    put(store, 8, "c", function="m.g")

    assert store.newest_roots(1) == {"m.f": 6, "m.g": 8}
    assert store.newest_roots(2) == {"m.f": 4, "m.g": 8}
    assert store.newest_roots(99) == {"m.f": 1, "m.g": 8}


def test_events_are_weighed(store: ArchiveStore) -> None:
    a_family(store)

    events, size = store.weight([1, 2])

    assert (events, size) == (4, 4 * (20 + 4) + 2 * (20 + 2))
    assert store.weight([]) == store.weight([99]) == (0, 0)


def test_what_was_printed_has_its_weight(store: ArchiveStore) -> None:
    put(store, 1, "a", events=1)
    empty = store.weight([1])
    store.commit([Write(1, [], outputs=[(1, 1, 1, 1, "stdout", 5, "ünicode" * 100)])])

    assert store.weight([1]) == (empty[0], empty[1] + 20 + 800)


def test_what_is_pruned_is_gone(store: ArchiveStore) -> None:
    a_family(store)
    beats = [(2, 1, 1, 5, "{}"), (7, 1, 1, 5, "{}")]
    output = [(2, 1, 1, 1, "stdout", 5, "hello"), (7, 1, 1, 1, "stdout", 5, "hello")]
    store.commit([Write(2, [], timers=[(2, 1, 99), (7, 1, 99)], beats=beats, outputs=output)])

    prune(store, (2, 0, 0), (6, 0, 0), (99, 0, 0))

    assert store.find("a/1") is None
    with pytest.raises(ExecutionNotFound):
        _ = store.get(2)
    assert (store.log(2), store.inbox(2), store.timers(2)) == ([], {}, {})
    assert (store.beats(2), store.outputs(2)) == ({}, [])
    assert store.timers(7) == {1: 99}
    assert (list(store.beats(7)), len(store.outputs(7))) == ([1], 1)
    assert [row[0] for row in store.last_beats()] == [7]
    assert len(store.log(1)) == 2
    assert store.leftovers() == []
    put(store, 6, "a0")


def test_a_long_log_goes_in_parts_from_its_end(store: ArchiveStore) -> None:
    put(store, 1, "a", events=10)
    beats, output = [(1, 1, 1, 5, "{}")], [(1, 1, 1, 1, "stdout", 5, "hello")]
    store.commit([Write(1, [], timers=[(1, 1, 99)], beats=beats, outputs=output)])

    prune(store, (1, 6, 4))

    assert store.find("a") is None
    assert (store.timers(1), store.beats(1), store.outputs(1)) == ({}, {}, [])
    assert [event.version for event in store.log(1)] == [0, 1, 2, 3, 4, 5]
    assert sorted(store.inbox(1)) == [1, 2, 3]
    assert (store.leftovers(), store.last_key(), store.ends(1)) == ([1], 1, (6, 3))
    prune(store, (1, 0, 0))
    assert (store.leftovers(), store.last_key(), store.ends(1)) == ([], 0, (0, 0))
