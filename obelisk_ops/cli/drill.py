"""``replica drill``: a backup counts only after it was restored."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from obelisk_ops.cli import stdout
from obelisk_ops.cli.options import rate_option, span_option, with_rate
from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.restore import terminated_like_interrupted
from obelisk_ops.core.clock import iso
from obelisk_ops.durable.flow.loader import load_served
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.errors import (
    ClockError,
    CredentialsError,
    Fenced,
    OpsError,
    Unavailable,
    Unproven,
    VerificationFailed,
)
from obelisk_ops.restore.drill.result import Drilled, Outcome, Tried
from obelisk_ops.restore.drill.trials import Trial
from obelisk_ops.settings import load
from obelisk_ops.supervise.health import EXIT_ORDER

_SEED_BITS = 31
#: What keeps a drill from proving anything, and has an exit status of its own.
_CAUSES = (Fenced, CredentialsError, ClockError, Unavailable)


@click.command
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--code", "targets", multiple=True, metavar="TARGET",
    help="Replay finished executions with this module or file, where it is the code that "
    "ran; can be given several times.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N",
    help="Take the same random points as a drill before.",
)  # fmt: skip
@click.option(
    "--within", "limit_s", callback=span_option, metavar="DURATION",
    help="How long the drill of each backup may take, as in 10m; else drill.timeout of the "
    "configuration.",
)  # fmt: skip
@rate_option
@json_option
@click.pass_obj
def drill(
    config: Path | None, names: tuple[str, ...], *, targets: tuple[str, ...],
    seed: int | None, limit_s: float | None, as_json: bool,
) -> None:  # fmt: skip
    """
    Restore the backups NAME, or all in the bucket, check them, and remove the copies.

    Of each the newest state, a random one, and for every level one that reads it: SQLite's
    page check, and for workflow databases what the logs mean. Exit 10 says that a backup is
    disproven, 4 that something kept it from being proven, 6 or 11 that this was the bucket,
    this machine, or the keys; 7 that there is no backup.
    """
    from obelisk_ops.app import drill_all  # noqa: PLC0415 - loads every room

    settings = with_rate(load(config))
    with stdout.for_the_result():
        code = Registry(load_served(target) for target in targets) if targets else None
    seed = secrets.randbits(_SEED_BITS) if seed is None else seed
    done: list[Drilled] = []
    with terminated_like_interrupted(), _looking_on() as watch:
        for drilled in drill_all(
            settings, names, seed=seed, limit_s=limit_s, code=code, watch=watch
        ):
            done.append(drilled)
            if not as_json:
                watch.stop()
                _show(drilled)
    if as_json:
        print_json({"drills": [_shape(drilled) for drilled in done]})
    else:
        note(f"random points were chosen by --seed {seed}")
    error = _error(done)
    if error is not None:
        raise error


def _error(done: list[Drilled]) -> OpsError | None:
    errors = [error for drilled in done if (error := _error_of(drilled))]
    return min(errors, key=lambda error: EXIT_ORDER.index(error.exit_status), default=None)


def _error_of(drilled: Drilled) -> OpsError | None:
    """Return what one drill calls for: the same, whether it was named or found."""
    if drilled.outcome is Outcome.OK:
        return None
    if drilled.outcome is Outcome.FAILED:
        return VerificationFailed(
            f"the drill of '{drilled.name}' failed: {drilled.detail}",
            hint=f"see which objects are damaged: obelisk-ops replica verify {drilled.name}",
        )
    cause = drilled.cause
    kind = type(cause) if isinstance(cause, _CAUSES) else Unproven
    return kind(
        f"the drill of '{drilled.name}' is inconclusive: {drilled.detail}",
        hint=(cause and cause.hint)
        or "nothing is known to be wrong; do it again when the cause is mended",
    )


def _shape(drilled: Drilled) -> dict[str, Any]:
    newest = drilled.tried[0] if drilled.tried else None
    return {
        "name": drilled.name, "outcome": drilled.outcome, "at": iso(drilled.at_ms),
        "epoch": newest.epoch if newest else None, "txid": newest.txid if newest else None,
        "seconds": round(drilled.seconds, 3), "checks": drilled.checks,
        "detail": drilled.detail, "seed": drilled.seed,
        "points": [_point(tried) for tried in drilled.tried],
    }  # fmt: skip


def _point(tried: Tried) -> dict[str, Any]:
    return {
        "epoch": tried.epoch, "txid": tried.txid, "at": _moment(tried), "why": tried.why,
        "outcome": tried.outcome, "seconds": round(tried.seconds, 3),
        "download_bytes": tried.download_bytes, "executions": tried.executions,
        "replayed": tried.replayed, "checks": tried.checks, "detail": tried.detail,
    }  # fmt: skip


def _moment(tried: Tried) -> str | None:
    return None if tried.captured_ms is None else iso(tried.captured_ms)


def _show(drilled: Drilled) -> None:
    took = f"{drilled.seconds:.1f}s"
    print_table(
        ("backup", "point", "why", "captured", "took", "outcome"),
        [
            *[
                (drilled.name, tried.point, tried.why, _moment(tried), f"{tried.seconds:.1f}s",
                 tried.outcome)
                for tried in drilled.tried
            ],
            (drilled.name, "all", None, None, took, drilled.outcome.upper()),
        ],
    )  # fmt: skip
    checks = [f"{check} {said}" for check, said in drilled.checks.items()]
    if checks:
        note(f"checks: {', '.join(checks)}")
    if drilled.detail:
        note(drilled.detail)


class _Bar:
    """Shows how far a drill is, on a terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def begins(self, name: str, trial: Trial, number: int, of: int) -> None:
        """See Watch."""
        self.stop()
        what = f"{name}: {trial.why}, {number} of {of}"
        self._task = self._bar.add_task(what, total=None)

    def progress(self, written: int, expected: int) -> None:
        """See Watch."""
        if self._task is not None:
            self._bar.update(self._task, completed=written, total=expected)

    def stop(self) -> None:
        """Show nothing until the next one begins."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


@contextmanager
def _looking_on() -> Iterator[_Bar]:
    console = Console(stderr=True)
    with Progress(
        TextColumn("drilling {task.description}"), BarColumn(), DownloadColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        yield _Bar(bar)
