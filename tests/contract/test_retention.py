"""What retention takes away from any store, and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obelisk_ops.core import retention
from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.ports import ExecutionFilter, Result, State, StateRow, Write
from obelisk_ops.core.retention import SLICE_EVENTS, Kept, Report, Wanted
from obelisk_ops.core.rows import CronRow
from obelisk_ops.storage.memory import MemoryStore

ALL = 1 << 40


class Rows:
    """Puts executions into a store, in the order of their keys."""

    def __init__(self, store: ArchiveStore) -> None:
        self.store = store
        self.keys: dict[str, int] = {}

    def put(
        self,
        name: str,
        *,
        parent: str | None = None,
        events: int = 2,
        seqs: int = 0,
        **facts: Any,
    ) -> None:
        key = self.keys[name] = len(self.keys) + 1
        given: dict[str, Any] = {
            "function": "m.f", "state": State.FINISHED, "result": Result.OK, "created_at": 1,
            "finished_at": key * 10,
        } | facts  # fmt: skip
        above = None if parent is None else self.keys[parent]
        row = StateRow(key=key, id=name, parent=above, parent_n=above and 1, **given)
        log = [(key, version, 5, "returned", "{}") for version in range(events)]
        inbox = [(key, seq + 1, "signal", 0, 5, "{}") for seq in range(seqs)]
        assert self.store.commit([Write(key, log, created=[row], inbox=inbox)]) == {}


@pytest.fixture
def rows(store: ArchiveStore) -> Rows:
    return Rows(store)


def wanted(store: ArchiveStore, **facts: Any) -> Wanted:
    given: dict[str, Any] = {"before": ALL, "upto": store.last_key()} | facts
    return Wanted(**given)


def prune(store: ArchiveStore, what: Wanted | None = None, *, steps: int = 10_000) -> Report:
    report = Report()
    for at, batch in enumerate(retention.slices(store, what or wanted(store), report)):
        if at == steps:
            break
        assert store.commit([Write(0, [], pruned=batch)]) == {}
    return report


def left(store: ArchiveStore) -> list[str]:
    return [row.id for row in store.executions(ExecutionFilter(limit=100_000))]


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("all", {}, ""),
    ("ended before", {"before": 30}, "c d e"),
    ("with a result", {"results": ["error"]}, "a b d"),
    ("with one of two", {"results": ["error", "cancelled"]}, "a b"),
    ("of a function", {"function": "m.g"}, "a c d e"),
    ("up to a key", {"upto": 3}, "d e"),
    ("the newest stay", {"newest": {"m.f": 4}}, "d e"),
    ("all at once", {"before": 40, "results": ["ok"], "function": "m.f"}, "b c d e"),
]


@pytest.mark.parametrize(("facts", "stays"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_only_what_is_asked_for_goes(
    store: ArchiveStore, rows: Rows, facts: dict[str, Any], stays: str
) -> None:
    rows.put("a")
    rows.put("b", function="m.g")
    rows.put("c", result=Result.ERROR)
    rows.put("d", result=Result.CANCELLED)
    rows.put("e", result=Result.ERROR)

    prune(store, wanted(store, **facts))

    assert left(store) == stays.split()


@pytest.mark.behaviour("P56")
@pytest.mark.parametrize("state", [state for state in State if state is not State.FINISHED])
def test_what_is_unfinished_stays_with_its_children(
    store: ArchiveStore, rows: Rows, state: State
) -> None:
    rows.put("a", state=state)
    rows.put("a/1", parent="a")
    rows.put("a/1/1", parent="a/1")
    rows.put("b")
    rows.put("b/1", parent="b", state=state)
    rows.put("b/2", parent="b")

    report = prune(store)

    assert left(store) == ["a", "a/1", "a/1/1", "b", "b/1", "b/2"]
    assert report.kept == {Kept.CHILDREN: 1}


def test_what_an_execution_scheduled_is_its_own(store: ArchiveStore, rows: Rows) -> None:
    rows.put("a")
    rows.put("a/1")  # scheduled by a: no parent
    rows.put("a/1/1", parent="a/1", state=State.BLOCKED)
    rows.put("a/2", parent="a")

    prune(store)

    assert left(store) == ["a/1", "a/1/1"]


def test_a_chain_keeps_its_first_and_its_last(store: ArchiveStore, rows: Rows) -> None:
    """People know it by the first id; the last one is what goes on."""
    for name in ("a", "a~2", "a~3"):
        rows.put(name)
    rows.put("a~4", state=State.BLOCKED)

    report = prune(store)

    assert left(store) == ["a", "a~4"]
    assert report.kept == {Kept.CHAIN: 1}


def test_a_chain_that_ended_goes_whole(store: ArchiveStore, rows: Rows) -> None:
    for name in ("a", "a~2", "a~3"):
        rows.put(name)
    rows.put("a/1", parent="a")

    prune(store, wanted(store, before=30))
    assert left(store) == ["a", "a~3", "a/1"]

    prune(store)
    assert left(store) == []


def test_a_chain_of_a_child_goes_with_the_parent(store: ArchiveStore, rows: Rows) -> None:
    rows.put("a")
    rows.put("a/1", parent="a")
    rows.put("a/1~2", parent="a")

    prune(store)

    assert left(store) == []


def test_the_newest_of_a_schedule_stay(store: ArchiveStore, rows: Rows) -> None:
    for name in ("x@1", "x@2", "x@3", "x@3~2"):
        rows.put(name)
    row = CronRow(id="x", spec="{}", last=1, running=("x@2",), newest="x@3")
    store.commit([Write(0, [], crons=[row])])

    report = prune(store)

    assert left(store) == ["x@3", "x@3~2"]
    assert report.kept[Kept.SCHEDULE] == 2


@pytest.mark.parametrize("keep", [1, 2])
def test_some_of_each_function_can_stay(store: ArchiveStore, rows: Rows, keep: int) -> None:
    for name in "abcd":
        rows.put(name, function="m.g" if name == "b" else "m.f")

    prune(store, wanted(store, newest=store.newest_roots(keep)))

    assert left(store) == [["b", "d"], ["b", "c", "d"]][keep - 1]


@pytest.mark.parametrize(("events", "seqs"), [(7_001, 0), (3, 7_001), (6_000, 9_000)])
def test_a_long_log_goes_in_parts(
    store: ArchiveStore, rows: Rows, events: int, seqs: int
) -> None:
    rows.put("a", events=events, seqs=seqs)
    what = wanted(store)

    prune(store, what, steps=2)
    assert left(store) == []
    assert store.leftovers() == [1]

    sizes = []
    for batch in retention.slices(store, what, Report()):
        before = sum(store.ends(1))
        store.commit([Write(0, [], pruned=batch)])
        sizes.append(before - sum(store.ends(1)))
    assert store.ends(1) == (0, 0)
    assert store.leftovers() == []
    assert max(sizes) <= 2 * SLICE_EVENTS + 1


def test_many_go_in_slices(store: ArchiveStore, rows: Rows) -> None:
    for at in range(500):
        rows.put(f"a{at}", events=10)
    sizes = []
    for batch in retention.slices(store, wanted(store), Report()):
        store.commit([Write(0, [], pruned=batch)])
        sizes.append(len(batch))

    assert max(sizes) == SLICE_EVENTS // 10
    assert sum(sizes) == 500


def test_the_survey_says_what_would_go(store: ArchiveStore, rows: Rows) -> None:
    rows.put("a", events=3)
    rows.put("a/1", parent="a", function="m.g", events=5)
    rows.put("b", result=Result.ERROR)
    rows.put("c", state=State.PAUSED)

    report = retention.survey(store, wanted(store))

    assert (report.executions, report.events) == (3, 10)
    found = {kind: (g.executions, g.events, g.bytes) for kind, g in report.groups.items()}
    assert found == {
        ("m.f", "ok"): (1, 3, 66), ("m.g", "ok"): (1, 5, 110), ("m.f", "error"): (1, 2, 44),
    }  # fmt: skip
    assert (report.groups["m.f", "ok"].oldest, report.groups["m.f", "ok"].newest) == (10, 10)
    assert left(store) == ["a", "a/1", "b", "c"]


# -- random forests ----------------------------------------------------------------------

NODES = st.lists(
    st.tuples(
        st.integers(-1, 30),  # below which one; -1 for none
        st.sampled_from(["child", "scheduled", "link"]),
        st.sampled_from([State.FINISHED] * 4 + [State.BLOCKED]),
        st.sampled_from([Result.OK, Result.ERROR]),
        st.integers(0, 50),
    ),
    max_size=25,
)


def plant(rows: Rows, nodes: list[Any]) -> None:
    names: list[tuple[str, str | None]] = []
    for at, (above, how, state, result, ended) in enumerate(nodes):
        facts = {"state": state, "result": result, "finished_at": ended}
        name, parent = f"r{at}", None
        if names and above >= 0:
            base, base_parent = names[above % len(names)]
            if how == "link":
                first = retention.first_of(base)
                number = sum(retention.first_of(n) == first for n, _ in names) + 1
                name, parent = f"{first}~{number}", base_parent
            else:
                name, parent = f"{base}/{at}", base if how == "child" else None
        rows.put(name, parent=parent, **facts)
        names.append((name, parent))


def expected(rows: list[StateRow], before: int, results: tuple[str, ...]) -> set[str]:
    """Say it again, slowly: what must be left."""
    by_key = {row.key: row for row in rows}

    def root_of(row: StateRow) -> StateRow:
        return row if row.parent is None else root_of(by_key[row.parent])

    def is_over(root: StateRow) -> bool:
        return all(row.state is State.FINISHED for row in rows if root_of(row) == root)

    def goes(root: StateRow) -> bool:
        is_old = (root.finished_at or 0) < before
        return is_over(root) and is_old and (not results or root.result in results)

    chains: dict[str, list[StateRow]] = {}
    for row in rows:
        if row.parent is None:
            chains.setdefault(retention.first_of(row.id), []).append(row)
    gone = {link.id for chain in chains.values() for link in chain[1:-1] if goes(link)}
    for first, *links in chains.values():
        last = links[-1] if links else first
        if goes(last) and is_over(first):
            gone |= {first.id, last.id}
    return {row.id for row in rows if root_of(row).id not in gone}


@pytest.fixture
def tiny_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a kill come between any two executions."""
    monkeypatch.setattr(retention, "SLICE_EVENTS", 1)


@pytest.mark.behaviour("P56")
@pytest.mark.usefixtures("tiny_slices")
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NODES, st.integers(0, 60), st.sampled_from([(), ("ok",)]), st.integers(0, 6))
def test_random_forests(
    nodes: list[Any], before: int, results: tuple[str, ...], killed_at: int
) -> None:
    """Killed at any slice and begun again, it comes to the same, and leaves no orphan."""
    store = MemoryStore()
    plant(Rows(store), nodes)
    all_of = ExecutionFilter(limit=1000)
    planted = store.executions(all_of)
    what = wanted(store, before=before, results=results)
    told = retention.survey(store, what)

    first = prune(store, what, steps=killed_at)
    rows = {row.key: row for row in store.executions(all_of)}
    assert {row.parent for row in rows.values()} <= {None, *rows}
    second = prune(store, what)

    assert set(left(store)) == expected(planted, before, results)
    assert told.executions == len(planted) - len(left(store))
    assert first.executions + second.executions >= told.executions
    assert store.leftovers() == []


def test_a_first_one_that_was_made_anew_stays_apart(store: ArchiveStore, rows: Rows) -> None:
    """After a chain is forgotten its id is free."""
    rows.put("a")
    prune(store)
    rows.keys.clear()
    rows.put("a", state=State.RUNNING)

    prune(store)

    assert left(store) == ["a"]
    assert store.get(1).state is State.RUNNING
