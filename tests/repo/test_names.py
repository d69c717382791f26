"""What is imported from the top: every name, its home, and nothing before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import obelisk_ops
import obelisk_ops.testing

HEAVY = ("apsw", "asyncio", "msgspec", "structlog", "obelisk_ops.durable", "obelisk_ops.core")


@pytest.mark.parametrize("package", [obelisk_ops, obelisk_ops.testing])
def test_each_name_has_a_home(package: ModuleType) -> None:
    """For people who add one: to the imports (for type checkers), _HOMES and __all__."""
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text())
    checked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("obelisk_ops")
        for alias in node.names
    }

    assert checked == set(package.__all__)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense


def test_the_plugin_costs_a_project_nothing_that_does_not_use_it() -> None:
    code = f"""
import pytest, sys
before = set(sys.modules)
import obelisk_ops.testing.plugin
print([name for name in {HEAVY} if name in sys.modules and name not in before])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
