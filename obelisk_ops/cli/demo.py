"""``demo``: the main job on real input, each claim checked."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

_WIDTH_ON_A_PIPE = 110


@click.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Work in this folder, and leave it behind."
)
def demo(keep: Path | None) -> None:
    """
    A sweep, its backup, two disasters and a post-mortem.

    Real workflows train small models; real Litestream streams their databases to a
    real S3 server on this machine. The workers are killed, the disk is lost, and the
    work goes on from the bucket. Every claim is checked; exit 1 or more if one fails.
    """
    from obelisk_ops.demo.main import run_demo  # noqa: PLC0415 - brings the S3 client

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_ON_A_PIPE
    run_demo(console, keep=keep)
