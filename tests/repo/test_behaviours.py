"""Every behaviour is held by a test, or says why not; every test names a behaviour there is."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEHAVIOURS = runpy.run_path(str(ROOT / "scripts" / "catalogues.py"))["BEHAVIOURS"]
CATALOGUE: dict[str, dict[str, str]] = BEHAVIOURS.entries()
HOLDERS: dict[str, list[str]] = BEHAVIOURS.holders()
FILES = sorted((ROOT / "tests" / "behaviours").glob("test_*.py"))


def test_no_number_is_missing() -> None:
    wanted = [f"O{n:02}" for n in range(1, 62)] + [f"P{n:02}" for n in range(1, 57)]

    assert list(CATALOGUE) == wanted


@pytest.mark.parametrize("number", CATALOGUE)
def test_it_is_held_or_says_why_not(number: str) -> None:
    assert HOLDERS.get(number) or CATALOGUE[number].get("later"), (
        f"name a test test_{number.lower()}_…, mark one, or say `later` in the catalogue"
    )


def test_every_test_holds_a_behaviour_that_there_is() -> None:
    assert set(HOLDERS) <= set(CATALOGUE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_tests_of_behaviours_are_numbered_and_say_what_they_show(path: Path) -> None:
    tests = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert [t.name for t in tests if not re.match(r"test_[op]\d\d_", t.name)] == []
    assert [t.name for t in tests if not ast.get_docstring(t)] == [], "say what it shows"
