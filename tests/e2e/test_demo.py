"""The demo is the product in one command; it checks its own claims."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_every_claim_of_the_demo_holds(tmp_path: Path) -> None:
    home = tmp_path / "demo"

    done = subprocess.run(
        [sys.executable, "-m", "obelisk_ops", "demo", "--keep", str(home)],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "✘" not in done.stdout
    assert "every acknowledged activity ran exactly once" in done.stdout
    assert "PROVEN" in done.stdout
