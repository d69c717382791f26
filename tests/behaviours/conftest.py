"""What every test of a behaviour begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A fresh machine at the beginning of its time."""
    return World(tmp_path)
