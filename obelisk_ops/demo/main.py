"""Sets the stage for the demo: a folder, a real S3 server, a configuration."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path

import yaml
from rich.console import Console

from obelisk_ops import settings
from obelisk_ops.demo.claims import Claims
from obelisk_ops.demo.story import Story, tell
from obelisk_ops.demo.terminal import Terminal
from obelisk_ops.errors import OpsError, ProgramMissing
from obelisk_ops.objectstore.embedded import S3Server


def run_demo(console: Console, *, keep: Path | None) -> None:
    """
    Tell the whole story, and print the table of what was proven.

    Args:
        console: Where to print.
        keep: A folder to work in and leave behind; else a temporary one, removed
            unless a claim fails.

    Raises:
        ProgramMissing: scikit-learn, Litestream or the S3 server is not installed.
        VerificationFailed: A claim does not hold.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ProgramMissing(
            "the demo trains models with scikit-learn, which is not installed",
            hint="pip install 'obelisk-ops[demo]'",
        )
    home = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="obelisk-ops-demo-"))
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _run_in(home, console)
    except OpsError:
        console.print(f"\nlogs and data are kept in {home}")
        raise
    if keep is None:
        shutil.rmtree(home)


def _run_in(home: Path, console: Console) -> None:
    claims = Claims(console)
    with S3Server(home / "s3", bucket="backups") as server:
        console.print(f"a real S3 server on {server.endpoint}, everything else in {home}")
        (home / "obelisk-ops.yml").write_text(_configuration(server.endpoint))
        env = settings.child_environment(
            {
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
                # Models this small are trained faster by one thread than by several.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
        )
        terminal = Terminal(home, env)
        try:
            tell(Story(terminal, claims, home))
        finally:
            terminal.close()
    claims.table()


def _configuration(endpoint: str) -> str:
    return yaml.safe_dump(
        {
            "replica": {
                "url": "s3://backups/experiments",
                "endpoint": endpoint,
                "region": "us-east-1",
                "credentials": "env",
            },
            "databases": [{"path": "data/runs/*.db", "name": "{stem}"}],
            "state_dir": "data/.obelisk-ops",
            "litestream": {"sync_interval": "500ms"},
        },
        sort_keys=False,
    )
