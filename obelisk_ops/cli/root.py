"""
The root command, and the one place that turns an error into output and an exit status.

Commands are imported when they are used: ``obelisk-ops run`` does not pay for botocore.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from obelisk_ops.cli.output import forget_form, note, print_error, want_json
from obelisk_ops.errors import OpsError, UsageError
from obelisk_ops.settings.secrets import hide

#: command -> module:attribute, in the order of the help page
COMMANDS = {
    "run": "obelisk_ops.cli.run:run",
    "worker": "obelisk_ops.cli.run:worker",
    "execution": "obelisk_ops.cli.execution:execution",
    "schedule": "obelisk_ops.cli.schedule:schedule",
    "supervise": "obelisk_ops.cli.supervise:supervise",
    "exec": "obelisk_ops.cli.exec:exec_",
    "status": "obelisk_ops.cli.supervise:status",
    "check": "obelisk_ops.cli.check:check",
    "config": "obelisk_ops.cli.config:config",
    "policy": "obelisk_ops.cli.policy:policy",
    "replica": "obelisk_ops.cli.replica:replica",
    "restore": "obelisk_ops.cli.restore:restore",
    "rollback": "obelisk_ops.cli.rollback:rollback",
    "takeover": "obelisk_ops.cli.takeover:takeover",
    "inspect": "obelisk_ops.cli.inspect:inspect",
    "search": "obelisk_ops.cli.search:search",
    "s3": "obelisk_ops.cli.s3:s3",
    "completion": "obelisk_ops.cli.completion:completion",
    "demo": "obelisk_ops.cli.demo:demo",
}

_INTERRUPTED = 130
_NO_SUCH_COMMAND = re.compile(r"No such command '([^']+)'")


class Root(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401
        """Run, and leave with the exit status of the contract; never with a traceback."""
        kwargs["standalone_mode"] = False
        forget_form()  # a process may run more than one command
        try:
            status = super().main(*args, **kwargs)
        except click.exceptions.Exit as done:
            raise SystemExit(done.exit_code) from None
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            raise SystemExit(_INTERRUPTED) from None
        except click.ClickException as wrong:
            want_json(wanted="--json" in sys.argv)  # it may come after what is wrong
            print_error(_as_usage_error(wrong))
            raise SystemExit(UsageError.exit_status) from None
        except OpsError as error:
            print_error(error)
            raise SystemExit(error.exit_status) from None
        except BrokenPipeError:
            raise SystemExit(1) from None
        except Exception as bug:  # noqa: BLE001 - the last one who can say it in words
            if _debugging():
                note(hide(traceback.format_exc()))
                raise SystemExit(OpsError.exit_status) from None
            hint = "this is a bug; run the same with --debug to see where"
            print_error(OpsError(f"{type(bug).__name__}: {bug}", hint=hint))
            raise SystemExit(OpsError.exit_status) from None
        raise SystemExit(status if isinstance(status, int) else 0)


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


def _debugging() -> bool:
    return bool(_flags.get("debug"))


_flags: dict[str, bool] = {}


def _remember_debug(_ctx: click.Context, _param: click.Parameter, value: bool) -> bool:  # noqa: FBT001
    _flags["debug"] = value
    return value


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Configuration file (YAML)."
)
@click.option(
    "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_remember_debug,
    help="Show the traceback of an unexpected error.",
)  # fmt: skip
@click.version_option(package_name="obelisk-ops")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Durable workflows in one SQLite file, streamed to S3, restorable to any moment."""
    ctx.obj = config
