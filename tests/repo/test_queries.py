"""Every statement has a name, a sentence that explains it, and a place that uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from obelisk_ops.storage import sql

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "obelisk_ops").rglob("queries*.sql"))
HEADER = re.compile(r"^-- name: ", re.MULTILINE)

by_folder = pytest.mark.parametrize(
    "file", FILES, ids=[str(file.parent.relative_to(ROOT)) for file in FILES]
)


def test_there_are_statements() -> None:
    assert FILES


@by_folder
def test_every_statement_is_named_and_explained(file: Path) -> None:
    text = file.read_text()

    statements = sql.parse(text)

    assert len(statements) == len(HEADER.findall(text)), "a sentence is missing after a name"
    assert text.lstrip().startswith("-- name: ") or text.startswith("-- "), "begin with a name"


@by_folder
def test_every_name_holds_one_statement(file: Path) -> None:
    several = [name for name, text in sql.parse(file.read_text()).items() if ";" in text]

    assert several == [], "give each its own name"


@by_folder
def test_every_statement_is_used(file: Path) -> None:
    room = "\n".join(path.read_text() for path in (ROOT / "obelisk_ops").rglob("*.py"))

    unused = [name for name in sql.parse(file.read_text()) if f'"{name}"' not in room]

    assert unused == [], "delete what nobody asks for"


def test_a_name_is_given_once() -> None:
    one = "-- name: first\n-- What it does.\nSELECT 1;\n"

    with pytest.raises(ValueError, match="defined twice"):
        sql.parse(one + one)
