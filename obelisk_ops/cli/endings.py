"""The one place that turns the end of a command into output and an exit status."""

from __future__ import annotations

import difflib
import re
import sys
import traceback
from collections.abc import Callable

import click

from obelisk_ops.cli.output import note, print_error, want_json
from obelisk_ops.errors import OpsError, UsageError
from obelisk_ops.settings.secrets import hide

_INTERRUPTED = 130
_NO_SUCH_COMMAND = re.compile(r"No such command '([^']+)'")

_flags: dict[str, bool] = {}


def remember_debug(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:  # noqa: FBT001
    """Note whether ``--debug`` was given."""
    _flags["debug"] = value
    return value


def status_of(command: Callable[[], object]) -> int:
    """
    Run a command to its end and return the exit status of the contract.

    What went wrong is printed; never as a traceback, unless ``--debug`` asks for it.
    """
    try:
        status = command()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except click.exceptions.Exit as done:
        status = done.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = _INTERRUPTED
    except click.ClickException as wrong:
        want_json(wanted="--json" in sys.argv)  # it may come after what is wrong
        status = _told(_as_usage_error(wrong))
    except OpsError as error:
        status = _told(error)
    except BrokenPipeError:
        status = 1
    except Exception as bug:  # noqa: BLE001 - the last one who can say it in words
        status = _tell_bug(bug)
    return status if isinstance(status, int) else 0


def _told(error: OpsError) -> int:
    print_error(error)
    return error.exit_status


def _tell_bug(bug: Exception) -> int:
    if _flags.get("debug"):
        note(hide(traceback.format_exc()))
        return OpsError.exit_status
    hint = "this is a bug; run the same with --debug to see where"
    return _told(OpsError(f"{type(bug).__name__}: {bug}", hint=hint))


def _as_usage_error(wrong: click.ClickException) -> UsageError:
    ctx = getattr(wrong, "ctx", None)
    where = ctx.command_path if ctx else "obelisk-ops"
    meant = _meant(ctx, wrong.format_message()) if ctx else ""
    return UsageError(wrong.format_message(), hint=f"{meant}see '{where} --help'")


def _meant(ctx: click.Context, message: str) -> str:
    """Return a guess at the command that was meant, if a word is none."""
    unknown = _NO_SUCH_COMMAND.match(message)
    if unknown is None or "Did you mean" in message or not isinstance(ctx.command, click.Group):
        return ""
    near = difflib.get_close_matches(unknown[1], ctx.command.list_commands(ctx), n=1)
    return f"did you mean '{near[0]}'? " if near else ""
