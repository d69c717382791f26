"""
Statements by name, from ``.sql`` files.

    -- name: read_log
    -- One execution's log, oldest first.
    SELECT …;

The sentence is mandatory: a statement that nobody can explain is not wanted.
"""

from __future__ import annotations

import re
from importlib import resources

_HEADER = re.compile(r"^-- name: ([a-z_]+)\n((?:-- .+\n)+)", re.MULTILINE)


def parse(source: str) -> dict[str, str]:
    """
    Split the text of a ``.sql`` file into its statements, by name.

    Raises:
        ValueError: A name is used twice.
    """
    _preamble, *rest = _HEADER.split(source)
    statements: dict[str, str] = {}
    for name, _about, text in zip(*[iter(rest)] * 3, strict=True):
        if name in statements:
            raise ValueError(f"statement {name!r} is defined twice")
        statements[name] = text.strip().removesuffix(";")
    return statements


def load(package: str, filename: str) -> dict[str, str]:
    """Read the statements of one file of a package."""
    return parse(read(package, filename))


def read(package: str, filename: str) -> str:
    """Read a whole file of a package, such as a schema."""
    return (resources.files(package) / filename).read_text(encoding="utf-8")
