"""Names of executions: what callers may use, and what the engine derives."""

from __future__ import annotations

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
    asked: list[str] = []

    def exists(name: str) -> bool:
        asked.append(name)
        return name in chain

    assert ids.latest("a", exists) == (f"a~{count + 1}" if count else "a")
    assert len(asked) < 40
    if count > 3:
        assert ids.latest("a~3", exists) == f"a~{count + 1}"
