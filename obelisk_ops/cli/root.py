"""
The root command.

Commands are imported when they are used: ``obelisk-ops run`` does not pay for boto3.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NoReturn

import click

from obelisk_ops.cli import hints
from obelisk_ops.cli.endings import remember_debug, status_of
from obelisk_ops.cli.output import forget_form

#: command -> module:attribute, in the order of the help page
COMMANDS = {
    "run": "obelisk_ops.cli.run:run",
    "worker": "obelisk_ops.cli.run:worker",
    "execution": "obelisk_ops.cli.execution:execution",
    "schedule": "obelisk_ops.cli.schedule:schedule",
    "db": "obelisk_ops.cli.db:db",
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
        hints.forget()
        raise SystemExit(status_of(lambda: super(Root, self).main(*args, **kwargs)))


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Configuration file (YAML)."
)
@click.option(
    "--debug", is_flag=True, is_eager=True, expose_value=False, callback=remember_debug,
    help="Show the traceback of an unexpected error.",
)  # fmt: skip
@click.version_option(package_name="obelisk-ops")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Durable workflows in one SQLite file, streamed to S3, restorable to any moment."""
    ctx.obj = config
    hints.remember_config(config)
