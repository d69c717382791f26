"""
House rules that no linter knows. Each failure says what to do instead.

Limits are a ratchet: lower them when the code allows it, never raise them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE_FOLDERS = ("obelisk_ops", "tests", "examples", "benchmarks", "scripts")
DATA_FOLDERS = ("litestream", "configs", "docker", "docs", ".ci", ".github")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

#: statements that are not transaction words or pragmas, however they are laid out
SQL = re.compile(
    r"""\s*( SELECT\s | INSERT\s+(OR\s+\w+\s+)?INTO\s | REPLACE\s+INTO\s | UPDATE\s+\w+\s+SET\s
    | DELETE\s+FROM\s | WITH\s+\w+\s+AS\s
    | (CREATE|DROP|ALTER)\s+(TEMP\s+)?(TABLE|INDEX|VIEW|TRIGGER)\s )""",
    re.IGNORECASE | re.VERBOSE,
)
VAGUE_NAMES = {"utils", "util", "helpers", "common", "manager", "base", "misc", "tools"}

CODE = [path for folder in CODE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PACKAGE = [path for path in CODE if path.is_relative_to(ROOT / "obelisk_ops")]


def place(path: Path, node: ast.AST | None = None) -> str:
    """Return where to look, as an editor opens it."""
    line = f":{node.lineno}" if isinstance(node, ast.expr | ast.stmt) else ""
    return f"{path.relative_to(ROOT)}{line}"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def texts(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def test_the_rules_see_the_code() -> None:
    assert len(PACKAGE) > 50


@pytest.mark.parametrize("folder", DATA_FOLDERS)
def test_data_folders_hold_no_python(folder: str) -> None:
    """A .py file there could be imported as `litestream` and shadow a real package."""
    inside = [place(path) for path in (ROOT / folder).rglob("*.py")]

    assert inside == [], "move the code under obelisk_ops/ or scripts/"


def test_files_fit_in_the_head() -> None:
    lengths = {place(path): len(path.read_text().splitlines()) for path in CODE}

    long = {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX}
    assert long == {}, f"split these by responsibility ({FILE_LINES_MAX} lines at most)"


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{place(path, function)} {function.name}"
        for path in CODE
        if len((text := path.read_text()).splitlines()) > FUNCTION_LINES_MAX
        for function in functions(ast.parse(text))
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert long == [], "keep the branches in the parent, move the straight lines out"


def test_every_module_says_what_it_is_for() -> None:
    docstring = re.compile(r'(?:#.*\n)*r?"""')
    silent = [place(path) for path in CODE if not docstring.match(path.read_text())]

    assert silent == [], "begin with a docstring: what this is for, what it must never do"


def test_names_of_modules_mean_something() -> None:
    vague = [place(path) for path in PACKAGE if path.stem in VAGUE_NAMES]

    assert vague == [], "name it for what it holds"


def test_sql_lives_in_sql_files() -> None:
    found = [
        place(path, node)
        for path in PACKAGE
        if SQL.search(text := path.read_text())
        for node in texts(ast.parse(text))
        if SQL.match(str(node.value))
    ]

    assert found == [], "name the statement in a .sql file and load it with storage.sql"


@pytest.mark.parametrize(
    ("text", "is_sql"),
    [
        ("SELECT value FROM meta", True),
        ("\n    insert into log (execution) values (?)", True),
        ("DELETE FROM timer", True),
        ("UPDATE state SET state = ?", True),
        ("CREATE TABLE t (a)", True),
        ("BEGIN IMMEDIATE", False),
        ("PRAGMA quick_check(5)", False),
        ("Select the newest point.", True),  # prose that begins so is rephrased
        ("update the note", False),
    ],
)
def test_the_rule_knows_sql(text: str, *, is_sql: bool) -> None:
    assert bool(SQL.match(text)) is is_sql
