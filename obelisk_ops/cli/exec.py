"""``exec``: a program, its databases, and a supervisor around it, for containers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from obelisk_ops import process
from obelisk_ops.cli.options import not_together
from obelisk_ops.cli.output import note
from obelisk_ops.cli.restore import progress_bar, terminated_like_interrupted
from obelisk_ops.core.clock import iso
from obelisk_ops.core.durations import format_duration, parse_duration
from obelisk_ops.core.when import Txid, show
from obelisk_ops.errors import OpsError, UsageError
from obelisk_ops.settings import Settings, load, named_databases, path_of, variable

if TYPE_CHECKING:
    from obelisk_ops.restore.service import Progress, Restored
    from obelisk_ops.supervise.entrypoint import Ending

_INIT = 1
_UNKNOWN = 4
#: Of the time to stop: what the program may take, and the most it may be given.
_GRACE_SHARE, _GRACE_SHARE_MAX = 0.4, 0.6


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as wrong:
        raise click.BadParameter(f"{value!r} is {wrong}") from None


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("argv", nargs=-1, required=True, metavar="-- CMD...", type=click.UNPROCESSED)
@click.option(
    "--restore", "names", multiple=True, metavar="NAME",
    help="Databases to restore if they are missing; may be repeated. Without it, those that "
    "the configuration names without a glob.",
)  # fmt: skip
@click.option("--no-restore", is_flag=True, help="Start with what is on this disk.")
@click.option(
    "--first-boot", is_flag=True,
    help="Databases of which the bucket holds nothing may be missing: CMD makes them. Said "
    "once, it is remembered in the bucket.",
)  # fmt: skip
@click.option(
    "--wait", callback=_seconds, default="2m", show_default=True, metavar="DURATION",
    help="How long to wait for the bucket to say that the databases may be written here; 0s: "
    "not at all.",
)  # fmt: skip
@click.option(
    "--grace", callback=_seconds, metavar="DURATION",
    help="How long CMD gets after SIGTERM before it is killed. Default: two fifths of "
    "stop_timeout; the rest is for the last sync.",
)  # fmt: skip
@click.option(
    "--strict", is_flag=True,
    help="Exit 4 or 5 where CMD ended with 0 and not all is proven to be in the bucket.",
)  # fmt: skip
@click.option(
    "--init/--no-init", default=None,
    help="Collect processes that lost their parent. Default: as process 1.",
)  # fmt: skip
@click.pass_context
def exec_(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    argv: tuple[str, ...],
    names: tuple[str, ...],
    *,
    no_restore: bool,
    first_boot: bool,
    wait: float,
    grace: float | None,
    strict: bool,
    init: bool | None,
) -> None:
    """
    Run CMD with its databases restored and replicated; the entrypoint of a container.

    Restores what is missing, takes the databases in hand, starts CMD, passes signals on
    to it, and when it ends ships the rest. Exits with the status of CMD, 128 + N for a
    signal. SIGHUP also reads the configuration again. A second SIGTERM ends everything
    at once.

    A file that exists is never touched. Where there is neither a file nor a backup, CMD
    is started only if the whole bucket is empty, or --first-boot says or has said that
    this is right: a wrong prefix looks just like it.
    """
    not_together(no_restore=no_restore, restore=names)
    not_together(no_restore=no_restore, first_boot=first_boot)
    if init or (init is None and os.getpid() == _INIT):
        process.stay_as_init()
    # boto3 is slow to import, and what stays behind as init has no need of it.
    from obelisk_ops.app import restore_before_start, run_command  # noqa: PLC0415
    from obelisk_ops.supervise.boot import discard  # noqa: PLC0415
    from obelisk_ops.supervise.command import find  # noqa: PLC0415
    from obelisk_ops.supervise.entrypoint import Terms  # noqa: PLC0415

    settings = load(ctx.obj)
    grace_s = _grace_s(grace, settings.stop_timeout_s)
    find(argv[0], variable("PATH"))
    wanted = _wanted(settings, names)
    done: Mapping[str, Restored | None] = {}
    if not no_restore:
        with terminated_like_interrupted():
            done = restore_before_start(
                settings, wanted, may_begin=first_boot, patience_s=wait, watch=_watch, tell=note
            )
        _tell(done)
    terms = Terms(
        needed=frozenset(wanted),
        patience_s=wait,
        stop_s=settings.stop_timeout_s,
        grace_s=grace_s,
    )
    copies = [restored.path for restored in done.values() if restored]
    try:
        ending = run_command(settings, argv, terms)
    except OpsError:  # the command was not started
        discard(copies)
        raise
    if not ending.was_started:
        discard(copies)
    ctx.exit(_exit_status(ending, strict=strict))


def _grace_s(given: float | None, stop_timeout_s: float) -> float:
    if given is None:
        return stop_timeout_s * _GRACE_SHARE
    if given > stop_timeout_s * _GRACE_SHARE_MAX:
        limit, most = (
            format_duration(s) for s in (stop_timeout_s, stop_timeout_s * _GRACE_SHARE_MAX)
        )
        raise UsageError(
            f"--grace {format_duration(given)} leaves too little of stop_timeout ({limit}) for "
            "the last sync",
            hint=f"at most {most}; or raise stop_timeout in the configuration, and what "
            "surrounds it",
        )
    return given


def _wanted(settings: Settings, names: tuple[str, ...]) -> Mapping[str, Path]:
    if not names:
        return named_databases(settings)
    return {name: path_of(settings, name) for name in names}


@contextmanager
def _watch(name: str) -> Iterator[Progress]:
    note(f"{name} is missing: restoring it")
    with progress_bar(name) as progress:
        yield progress


def _tell(done: Mapping[str, Restored | None]) -> None:
    for name, restored in done.items():
        if restored is None:
            note(f"{name}: nothing of it is in the bucket yet; it is made by the command")
            continue
        point = show(Txid(restored.plan.point.txid, restored.plan.point.epoch))
        note(f"{name}: restored to {point}, of {iso(restored.plan.at_ms)}")


def _exit_status(ending: Ending, *, strict: bool) -> int:
    outcome = ending.outcome
    if outcome is None:
        note("warning: the supervisor failed; it is not known what is in the bucket")
    elif outcome.exit_status:
        note("warning: not everything is proven to be in the bucket")
        for row in outcome.rows:
            note(f"  {row.name}: {row.detail}")
    unproven = _UNKNOWN if outcome is None else outcome.exit_status
    return unproven if strict and ending.status == 0 else ending.status
