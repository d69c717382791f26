"""The one place that turns the end of a command into output and an exit status."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable

import click

from obelisk_ops.cli import hints, stdout
from obelisk_ops.cli.output import note, print_error, want_json
from obelisk_ops.core.words import meant
from obelisk_ops.errors import Interrupted, OpsError, StorageUnavailable, UsageError
from obelisk_ops.settings.secrets import hide

#: Its message is the whole help. click before 8.2 prints that by itself.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
#: options of the program, which people write behind a command
_OF_ALL = {
    "-c": "-c FILE",
    "--config": "--config FILE",
    "--debug": "--debug",
}
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
    with stdout.watched() as watch:
        try:
            status = command()
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
        except click.exceptions.Exit as done:
            status = done.exit_code
        except (click.Abort, KeyboardInterrupt):
            status = _told(Interrupted("interrupted"))
        except Exception as error:  # noqa: BLE001 - the last one who can say it in words
            # What stdout has refused is said at the end.
            status = OpsError.exit_status if error is watch.refusal else _said(error)
    if watch.refusal is not None:
        status = _unprinted(watch.refusal)
    return status if isinstance(status, int) else 0


def _said(error: Exception) -> int:
    """Say in words why a command ended, and return its status."""
    if isinstance(error, _NO_ARGUMENTS):
        note(error.format_message())
        return UsageError.exit_status
    if isinstance(error, click.ClickException):
        want_json(wanted="--json" in sys.argv)  # it may come after what is wrong
        return _told(_as_usage_error(error))
    if isinstance(error, OpsError):
        return _told(error)
    if _flags.get("debug"):
        note(hide("".join(traceback.format_exception(error))))
        return OpsError.exit_status
    hint = "this is a bug; run the same with --debug to see where"
    return _told(OpsError(f"{type(error).__name__}: {error}", hint=hint))


def _unprinted(refusal: OSError) -> int:
    if isinstance(refusal, BrokenPipeError):  # 'head -1' has enough: nothing to complain about
        return stdout.PIPE_CLOSED
    return _told(
        StorageUnavailable(
            f"stdout cannot be written: {refusal.strerror}",
            hint="free some space there, or send the output elsewhere",
        )
    )


def _told(error: OpsError) -> int:
    error.hint = hints.as_typed(error.hint)
    print_error(error)
    return error.exit_status


def _as_usage_error(wrong: click.ClickException) -> UsageError:
    ctx = getattr(wrong, "ctx", None)
    where = ctx.command_path if ctx else "obelisk-ops"
    message = " ".join(wrong.format_message().split())
    option, command = getattr(wrong, "option_name", ""), where.partition(" ")[2]
    if option in _OF_ALL and command:
        hint = f"it stands before the command: {_OF_ALL[option]} {command}"
        return UsageError(message, hint=hint)
    near = _meant(ctx, message) if ctx else ""
    return UsageError(message, hint=f"{near}see '{where} --help'")


def _meant(ctx: click.Context, message: str) -> str:
    """Return a guess at the command that was meant, if a word is none."""
    unknown = _NO_SUCH_COMMAND.match(message)
    if unknown is None or "Did you mean" in message or not isinstance(ctx.command, click.Group):
        return ""
    return meant(unknown[1], ctx.command.list_commands(ctx))
