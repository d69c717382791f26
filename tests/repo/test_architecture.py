"""The map is never older than the house: ARCHITECTURE.md names every room, and no other."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import obelisk_ops

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "ARCHITECTURE.md").read_text()
ROOMS = [m.name for m in pkgutil.iter_modules(obelisk_ops.__path__) if m.name != "__main__"]
LINES_MAX = 200


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_names_every_room(room: str) -> None:
    assert f"`{room}`" in MAP


def test_the_map_shows_the_layers_that_are_checked() -> None:
    """The picture of the one-way rule has the same rooms as the import contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    checked = " > ".join(layer for layer in layers if layer != "__main__")

    assert checked in " ".join(MAP.split())


def test_the_map_fits_in_the_head() -> None:
    assert len(MAP.splitlines()) <= LINES_MAX


def test_tests_that_the_map_names_exist() -> None:
    """An invariant without its test is a wish."""
    named = re.findall(r"`(tests/[^`]+?\.py)(?:::(\w+))?`", MAP)

    assert named
    for file, function in named:
        path = ROOT / file
        assert path.is_file(), f"{file} is named in ARCHITECTURE.md and does not exist"
        assert f"def {function}" in path.read_text(), f"{file} has no {function}"


def test_files_that_the_map_names_exist() -> None:
    named = re.findall(r"`((?:obelisk_ops|docs|scripts|examples|configs)/[^`*<{ ]+)`", MAP)

    assert [name for name in named if not (ROOT / name).exists()] == []
