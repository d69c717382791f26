"""``replica prune``: removing old objects of a backup from the bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.filesize import decimal

from obelisk_ops.cli.options import duration_option
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.core.clock import iso
from obelisk_ops.core.words import counted
from obelisk_ops.errors import Degraded
from obelisk_ops.replica.layout import epoch_name
from obelisk_ops.restore.prune.plan import EpochPlan
from obelisk_ops.restore.prune.service import Pruned, words_of
from obelisk_ops.settings import load


@click.command("prune")
@click.argument("name")
@click.option(
    "--older-than", "keep_s", callback=duration_option, metavar="DURATION",
    help="Every moment since then stays restorable; else litestream.snapshot.retention.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="Do it; else only say what would go.")
@json_option
@click.pass_obj
def prune_command(
    config: Path | None, name: str, *, keep_s: float | None, apply: bool, as_json: bool
) -> None:
    """
    Remove what is old from the backup NAME: closed epochs, snapshots, and what lies before.

    Says what would go; --apply does it. Never what a restore of a younger moment needs, nor
    anything newer than the last good drill, without which nothing goes; nor where the clocks
    of this machine and of the bucket differ.
    """
    from obelisk_ops.app import prune_replica  # noqa: PLC0415 - loads every room

    done = prune_replica(load(config), name, keep_s=keep_s, is_applied=apply)
    if as_json:
        print_json(_shape(done))
    else:
        _show(done)
    if done.survived:
        raise Degraded(
            f"{counted(len(done.survived), 'object')} of '{name}' survived their deletion",
            hint="DELETE was answered and not done: look for a lock or a retention rule of the "
            "bucket, and whether the key pair may delete (obelisk-ops policy --role pruner)",
        )


def _shape(done: Pruned) -> dict[str, Any]:
    doomed = done.plan.doomed
    return {
        "name": done.plan.name, "applied": done.is_applied,
        "restorable_since": iso(done.plan.cutoff_ms),
        "objects": len(doomed), "bytes": sum(file.size for file in doomed),
        "epochs": [
            {
                "epoch": epoch.epoch, "live": epoch.is_live, "objects": len(epoch.doomed),
                "bytes": epoch.doomed_bytes, "kept": epoch.kept,
                "kept_points": epoch.kept_points, "why": epoch.why,
            }
            for epoch in done.plan.epochs
        ],
        "survived": [file.key for file in done.survived],
    }  # fmt: skip


def _show(done: Pruned) -> None:
    columns = ("epoch", "", "objects that go", "bytes", "stay", "points that stay", "why")
    print_table(columns, [_row(epoch) for epoch in done.plan.epochs])
    note(f"every moment since {iso(done.plan.cutoff_ms)} stays restorable")
    note(words_of(done))


def _row(epoch: EpochPlan) -> tuple[object, ...]:
    return (
        epoch_name(epoch.epoch), "live" if epoch.is_live else "closed", len(epoch.doomed),
        decimal(epoch.doomed_bytes), epoch.kept, epoch.kept_points, epoch.why,
    )  # fmt: skip
