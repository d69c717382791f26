"""What a durable engine must do it does on every kind of database; no test goes around that."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEHAVIOURS = runpy.run_path(str(ROOT / "scripts" / "catalogues.py"))["BEHAVIOURS"]
HOLDERS: dict[str, list[str]] = BEHAVIOURS.holders(only_default=True)
FILES = sorted((ROOT / "tests" / "behaviours").glob("test_*.py"))

#: behaviours that the default run shows on files alone, and why
ON_FILES_ALONE = {"P10": "ten thousand steps are as many commits; `make test-chaos` has it"}


def functions_of(path: Path) -> list[ast.FunctionDef]:
    return [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_behaviour_is_shown_on_a_file_of_its_own(path: Path) -> None:
    for test in functions_of(path):
        asked = {argument.arg for argument in test.args.args}

        assert "tmp_path" not in asked or "databases" in asked, (
            f"{test.name}: ask for `world`, or for `databases`"
        )


def test_all_is_shown_on_a_server_too_in_the_default_run() -> None:
    slow = {
        test.name
        for path in FILES
        for test in functions_of(path)
        if any("slow_on_a_server" in ast.unparse(mark) for mark in test.decorator_list)
    }

    missing = {
        number
        for number, tests in HOLDERS.items()
        if all(test.partition("::")[2] in slow for test in tests)
    }

    assert missing == set(ON_FILES_ALONE)
