"""Every row of the fault matrix is held by a test, or says why not."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = runpy.run_path(str(ROOT / "scripts" / "catalogues.py"))["FAULTS"]
CATALOGUE: dict[str, dict[str, str]] = FAULTS.entries()
#: no plugin is needed, and some take long to import
BARE = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
HELD = FAULTS.holders(only_default=True)


def test_no_row_is_missing() -> None:
    assert list(CATALOGUE) == [str(row) for row in range(1, 37)]


@pytest.mark.parametrize("row", CATALOGUE)
def test_it_is_held_or_says_why_not(row: str) -> None:
    assert HELD.get(row) or CATALOGUE[row].get("later"), (
        f"mark a test of `make test` with fault({row}), or say `later` in the catalogue"
    )


def test_every_mark_names_a_row() -> None:
    assert set(FAULTS.holders()) <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("assert True", "held in this run: 2 rows: 1, 2"),
        ("assert False", "held in this run: 0 rows: none"),
        ("pytest.skip('not on this platform: a test')", "held in this run: 0 rows: none"),
    ],
)
def test_a_run_says_which_rows_it_held(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = fault: rows\n")
    (tmp_path / "conftest.py").write_text(
        "from tests.matrix import Matrix\n"
        "def pytest_configure(config): config.pluginmanager.register(Matrix(config))\n"
    )
    (tmp_path / "test_some.py").write_text(
        f"import pytest\n@pytest.mark.fault(1, 2)\ndef test_one(): {body}\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        env=os.environ | BARE,
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip

    assert said in done.stdout, done.stdout + done.stderr


def test_a_whole_run_that_held_less_than_the_page_says_fails(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = .\nmarkers = fault: rows\n")
    (tmp_path / "conftest.py").write_text(
        "from tests.matrix import Matrix\n"
        "def pytest_configure(config): config.pluginmanager.register(Matrix(config))\n"
    )
    (tmp_path / "test_some.py").write_text(
        "import pytest\n@pytest.mark.fault(1)\ndef test_one(): pass\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        env=os.environ | BARE, cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip

    assert done.returncode == 1, done.stdout + done.stderr
    assert "not held, though faults.md says so: 2, " in done.stdout
