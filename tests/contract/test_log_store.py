"""What every LogStore promises. Nothing here may name a backend."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import (
    ExecutionFilter,
    InboxItem,
    LogRow,
    LogStore,
    Result,
    State,
    StateChange,
    StateRow,
    Write,
)
from obelisk_ops.errors import ExecutionExists, VersionConflict


def event(key: int, version: int, *, at: int = 5, body: str = "{}") -> LogRow:
    return (key, version, at, "returned", body)


def row(key: int, name: str | None = None, **facts: Any) -> StateRow:
    given: dict[str, Any] = {
        "function": "m.f",
        "state": State.RUNNING,
        "created_at": key * 10,
    } | facts
    return StateRow(key=key, id=name or f"e{key}", **given)


def creation(key: int, name: str | None = None, **facts: Any) -> Write:
    return Write(key, [event(key, 0)], created=[row(key, name, **facts)])


def names(store: LogStore, **wanted: Any) -> list[str]:
    return [found.id for found in store.executions(ExecutionFilter(**wanted))]


def test_an_empty_store_knows_nothing(store: ArchiveStore) -> None:
    assert store.find("e1") is None
    assert store.unfinished() == []
    assert store.executions(ExecutionFilter()) == []
    assert store.log(1) == []
    assert store.inbox(1) == {}
    assert store.timers(1) == {}
    assert store.beats(1) == {}
    assert store.outputs(1) == []
    assert store.letters(10) == []
    assert store.last_key() == 0


def test_a_database_says_what_it_is(store: LogStore) -> None:
    meta = store.meta()

    assert meta["schema_version"] == "1"
    assert len(meta["database_id"]) == 32
    assert meta["epoch"] == "1"

    store.set_epoch(3)

    assert store.meta()["epoch"] == "3"


def test_what_is_committed_is_read_back(store: ArchiveStore) -> None:
    whole = row(
        7, "a", parent=3, parent_n=2, state=State.FINISHED, result=Result.ERROR,
        finished_at=9, error="E: no",
    )  # fmt: skip

    refused = store.commit([Write(7, [event(7, 0), event(7, 1)], created=[whole])])

    assert refused == {}
    assert store.find("a") == store.get(7) == whole
    assert store.log(7) == [Event(0, 5, "returned", "{}"), Event(1, 5, "returned", "{}")]
    assert store.last_key() == 7


@pytest.mark.parametrize(
    "body",
    [
        '{"b": 1,  "a": "é"}', '{"ok":"\\u0000"}', '{"ok":"日本語 🎈"}',
        '{"ok":"' + "x" * 100_000 + '"}',
    ],
    ids=["spaces", "nul", "beyond latin", "100 kB"],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 2, 3])
def test_bodies_come_back_byte_for_byte(store: LogStore, body: str, count: int) -> None:
    store.commit([Write(1, [event(1, version, body=body) for version in range(count)])])

    assert [found.body for found in store.log(1)] == [body] * count


def test_a_commit_of_nothing_changes_nothing(store: LogStore) -> None:
    assert store.commit([]) == {}
    assert store.commit([Write(1, [])]) == {}
    assert store.log(1) == []


def test_logs_are_read_in_the_order_of_versions(store: LogStore) -> None:
    store.commit([Write(1, [event(1, 1)]), Write(2, [event(2, 0)]), Write(1, [event(1, 0)])])

    assert [found.version for found in store.log(1)] == [0, 1]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.behaviour("O46")
def test_the_version_is_the_optimistic_lock(store: LogStore, count: int) -> None:
    store.commit([creation(1), Write(1, [event(1, 1, body='"first"')])])

    late = [event(1, 1 + more, body='"late"') for more in range(count)]
    refused = store.commit([Write(1, late)])

    assert [type(error) for error in refused.values()] == [VersionConflict]
    assert [found.body for found in store.log(1)] == ["{}", '"first"']


def test_an_id_is_created_once(store: ArchiveStore) -> None:
    store.commit([creation(1, "a")])

    refused = store.commit([creation(2, "a")])

    assert [type(error) for error in refused.values()] == [ExecutionExists]
    assert store.log(2) == []
    assert store.last_key() == 1


def test_a_key_is_used_once(store: LogStore) -> None:
    store.commit([creation(1, "a")])

    refused = store.commit([Write(1, [event(1, 1)], created=[row(1, "b")])])

    assert [type(error) for error in refused.values()] == [VersionConflict]
    assert store.find("b") is None


@pytest.mark.behaviour("O07")
def test_fifty_in_a_group_and_one_is_guilty(store: LogStore) -> None:
    store.commit([creation(30, "taken")])
    group = [creation(key) for key in range(100, 150)]
    group[25] = creation(125, "taken")

    refused = store.commit(group)

    assert {at: type(error) for at, error in refused.items()} == {25: ExecutionExists}
    assert len(store.unfinished()) == 50
    assert store.log(125) == []


def test_later_writes_of_a_refused_execution_are_refused_with_it(store: LogStore) -> None:
    store.commit([creation(1), creation(2)])

    refused = store.commit(
        [
            Write(1, [event(1, 1)]),
            Write(1, [event(1, 1)]),  # guilty
            Write(2, [event(2, 1)]),
            Write(1, [event(1, 2)]),  # would leave no gap, and yet is not what its writer meant
            Write(2, [event(2, 2)]),
        ]
    )

    assert {at: type(error) for at, error in refused.items()} == {
        1: VersionConflict,
        3: VersionConflict,
    }
    assert [len(store.log(key)) for key in (1, 2)] == [2, 3]


def test_a_refused_write_drags_along_all_whose_rows_it_held(store: LogStore) -> None:
    """A child's end holds rows of its parent: the parent's next write must not leave a gap."""
    store.commit([creation(1), creation(2)])
    child_ends = Write(
        2, [event(2, 0), event(1, 1)], changed=[StateChange(key=2, state=State.FINISHED)]
    )

    refused = store.commit([child_ends, Write(1, [event(1, 2)]), Write(3, [event(3, 0)])])

    assert sorted(refused) == [0, 1]
    assert len(store.log(1)) == 1
    assert len(store.log(3)) == 1


def test_a_write_is_all_or_nothing(store: LogStore) -> None:
    store.commit([creation(1), creation(2)])
    store.commit([Write(1, [], inbox=[(1, 1, "timer", 1, 5, "{}")], timers=[(1, 4, 99)])])
    everything = Write(
        1,
        [event(1, 1)],
        created=[row(9, "child", parent=1, parent_n=3)],
        changed=[StateChange(key=2, state=State.BLOCKED)],
        timers=[(1, 5, 100)],
        timers_done=[(1, 4)],
        inbox=[(1, 1, "child", 2, 6, "{}")],  # seq 1 is taken
    )

    refused = store.commit([everything])

    assert list(refused) == [0]
    assert len(store.log(1)) == 1
    assert store.find("child") is None
    assert store.get(2).state is State.RUNNING
    assert store.timers(1) == {4: 99}
    assert {seq: item.body for seq, item in store.inbox(1).items()} == {1: "{}"}


def test_a_change_replaces_state_result_end_and_error(store: LogStore) -> None:
    store.commit([creation(1)])
    change = StateChange(
        key=1, state=State.FINISHED, result=Result.ERROR, finished_at=77, error="E: no"
    )

    store.commit([Write(1, [event(1, 1)], changed=[change])])

    found = store.get(1)
    assert (found.state, found.result) == (State.FINISHED, Result.ERROR)
    assert (found.finished_at, found.error) == (77, "E: no")
    assert (found.id, found.function, found.created_at) == ("e1", "m.f", 10)
    assert store.unfinished() == []


def test_of_several_changes_in_a_group_the_last_one_counts(store: LogStore) -> None:
    store.commit([creation(1)])
    changes = [State.BLOCKED, State.RUNNING, State.PARKED]

    store.commit(
        [
            Write(1, [event(1, at)], changed=[StateChange(key=1, state=state)])
            for at, state in enumerate(changes, start=1)
        ]
    )

    assert store.get(1).state is State.PARKED


def test_unfinished_ones_are_listed_oldest_first(store: LogStore) -> None:
    store.commit([creation(3), creation(1), creation(2, state=State.FINISHED)])
    store.commit([creation(4, state=State.PARKED)])

    assert [found.key for found in store.unfinished()] == [1, 3, 4]


def test_an_inbox_belongs_to_one_execution(store: LogStore) -> None:
    store.commit(
        [
            Write(1, [], inbox=[(1, 1, "timer", 4, 5, '"a"'), (1, 2, "child", 5, 6, '"b"')]),
            Write(2, [], inbox=[(2, 1, "timer", 4, 5, '"c"')]),
        ]
    )

    assert [item.body for _, item in sorted(store.inbox(1).items())] == ['"a"', '"b"']
    assert [item.body for _, item in sorted(store.inbox(2).items())] == ['"c"']


def test_what_arrived_is_read_back_whole(store: LogStore) -> None:
    store.commit([Write(1, [event(1, 0)], inbox=[(1, 1, "timer", 4, 5, '"a"')])])

    assert store.inbox(1) == {1: InboxItem("timer", 4, 5, '"a"')}
    assert store.ends(1) == (1, 1)
    assert store.ends(9) == (0, 0)


def test_all_armed_timers_are_listed_by_their_time(store: LogStore) -> None:
    store.commit([Write(1, [], timers=[(1, 1, 300), (1, 0, 100)])])
    store.commit([Write(2, [], timers=[(2, -1, 200)])])

    assert store.armed() == [(1, 0, 100), (2, -1, 200), (1, 1, 300)]


def test_timers_are_armed_and_disarmed(store: LogStore) -> None:
    store.commit([Write(1, [], timers=[(1, 1, 100), (1, 2, 200)])])
    store.commit([Write(1, [], timers=[(1, 3, 300)], timers_done=[(1, 1), (1, 3), (1, 9)])])

    assert store.timers(1) == {2: 200}
    assert store.timers(2) == {}


LISTED = [
    creation(1, "a"),
    creation(2, "b", function="m.g", state=State.FINISHED, error="ValueError: Straße"),
    creation(3, "c", state=State.FINISHED),
    creation(4, "d", state=State.PARKED, error="changed"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "abcd"),
        ({"state": "finished"}, "bc"),
        ({"function": "m.g"}, "b"),
        ({"since": 30}, "cd"),
        ({"error": "valueERROR"}, "b"),
        ({"error": "STRASSE"}, "b"),
        ({"error": "%"}, ""),
        ({"after": "b"}, "cd"),
        ({"after": "b", "limit": 1}, "c"),
        ({"after": "d"}, ""),
        ({"state": "finished", "function": "m.f"}, "c"),
        ({"limit": 2}, "ab"),
    ],
    ids=str,
)
def test_executions_are_filtered(store: LogStore, wanted: dict[str, Any], found: str) -> None:
    store.commit(LISTED)

    assert "".join(names(store, **wanted)) == found


@pytest.mark.behaviour("O52")
def test_pages_skip_nothing_and_repeat_nothing(store: LogStore) -> None:
    store.commit([creation(key, created_at=1) for key in range(1, 24)])

    pages, after = [], None
    while page := names(store, after=after, limit=5):
        pages += page
        after = page[-1]

    assert pages == [f"e{key}" for key in range(1, 24)]


def test_events_of_some_kinds_are_read_in_order(store: LogStore) -> None:
    asked = (1, 1, 5, "intended", "{}")
    store.commit([creation(1), Write(1, [asked, event(1, 2)])])

    assert store.events_of(1, {"returned", "finished"}) == [
        Event(0, 5, "returned", "{}"),
        Event(2, 5, "returned", "{}"),
    ]
    assert store.events_of(1, set()) == store.events_of(9, {"returned"}) == []


def test_closing_twice_is_allowed(store: LogStore) -> None:
    store.close()
    store.close()


def test_the_first_and_the_last_event_are_read_alone(store: LogStore) -> None:
    log = [(1, v, 5, "returned", str(v)) for v in range(3)] + [(2, 0, 5, "created", "{}")]
    store.commit([Write(1, log)])

    assert store.first(1) == Event(0, 5, "returned", "0")
    assert store.last(1) == Event(2, 5, "returned", "2")
    assert store.first(2) == store.last(2) == Event(0, 5, "created", "{}")


def test_keys_that_are_drawn_are_new(store: ArchiveStore) -> None:
    first = list(islice(store.draw_keys(), 3))
    store.commit([creation(first[-1])])
    after = list(islice(store.draw_keys(), 3))

    assert first == sorted(set(first))
    assert min(after) > first[-1]
