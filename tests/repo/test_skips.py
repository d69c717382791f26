"""What could not run is listed at the end, and fails where everything must run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.parametrize(
    # CI, the reason of the skip, exit status
    ("ci", "reason", "status"),
    [
        ("true", "no such server", 1),
        ("true", "not on this platform: needs Linux", 0),
        ("", "no such server", 0),
    ],
)
def test_a_skip_is_listed_and_fails_in_ci(
    tmp_path: Path, ci: str, reason: str, status: int
) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_some.py").write_text(
        f"import pytest\ndef test_skipped(): pytest.skip({reason!r})\ndef test_run(): pass\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        env=os.environ | {"CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip

    assert done.returncode == status, done.stdout
    assert "could not run here" in done.stdout
    assert f"test_skipped: {reason}" in done.stdout
