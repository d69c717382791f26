"""Names of executions: what callers may use, and what the engine derives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from obelisk_ops.core import ids
from obelisk_ops.errors import InvalidInput


@pytest.mark.parametrize("name", ["a", "order-42", "7", "a.b_c:d@e+f=g", "x" * 200])
def test_names_that_are_allowed(name: str) -> None:
    assert ids.checked(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".hidden", "a/1", "a b", "ä", "a\n", "a\0", "x" * 201, "../a"]
)
def test_names_that_are_not(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be an execution id"):
        ids.checked(name)


def test_derived_names_never_clash_with_a_callers() -> None:
    child = ids.derived("order-42", 3)

    assert child == "order-42/3"
    assert ids.derived(child, 1) == "order-42/3/1"
    with pytest.raises(InvalidInput):
        ids.checked(child)


def test_generated_names_sort_by_time_and_are_allowed() -> None:
    early, late = ids.generated(1_700_000_000_000), ids.generated(1_700_000_000_001)

    assert early < late
    assert ids.generated(5) != ids.generated(5)
    assert ids.checked(early) == early


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 9, 100, 10_000])
def test_the_last_of_a_chain_is_found_with_few_questions(count: int) -> None:
    chain = {"a"} | {f"a~{n}" for n in range(2, count + 2)}
    store = Chain(chain)

    assert ids.latest("a", store.find, store.newest) == (f"a~{count + 1}" if count else "a")
    assert store.questions < 40
    if count > 3:
        assert ids.latest("a~3", store.find, store.newest) == f"a~{count + 1}"


@pytest.mark.parametrize("begin", [3, 4, 50, 99])
def test_the_last_of_a_chain_is_found_when_its_middle_is_pruned(begin: int) -> None:
    store = Chain({"x/1"} | {f"x/1~{n}" for n in range(begin, 101)})

    assert ids.latest("x/1", store.find, store.newest) == "x/1~100"
    assert ids.latest(f"x/1~{begin}", store.find, store.newest) == "x/1~100"
    assert ids.latest("x/2", store.find, store.newest) == "x/2"


@dataclass(frozen=True)
class Link:
    id: str


@dataclass
class Chain:
    names: set[str]
    questions: int = 0

    def find(self, name: str) -> Link | None:
        self.questions += 1
        return Link(name) if name in self.names else None

    def newest(self, name: str) -> Link | None:
        self.questions += 1
        links = [one for one in self.names if one.startswith(f"{name}~")]
        return Link(max(links, key=lambda one: int(one.split("~")[1]))) if links else None


@pytest.mark.parametrize(
    ("name", "first", "number", "following"),
    [
        ("a", "a", 1, "a~2"),
        ("a~9", "a", 9, "a~10"),
        ("a/1", "a/1", 1, "a/1~2"),
        ("a~2/1", "a~2/1", 1, "a~2/1~2"),
        ("a~2/1~3", "a~2/1", 3, "a~2/1~4"),
    ],
)
def test_links_of_chains(name: str, first: str, number: int, following: str) -> None:
    assert ids.split_link(name) == (first, number)
    assert ids.successor(name) == following
