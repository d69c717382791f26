"""What every test of a behaviour begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases import Databases
from tests.world import World


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, databases: Databases) -> World:
    """
    A fresh machine at the beginning of its time.

    Its parameter, where a test gives one: how many executions stay in memory that wait.
    """
    return World(tmp_path, databases, keep_loaded=getattr(request, "param", 1000))
