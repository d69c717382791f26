"""``completion``: what a shell runs so that Tab knows the commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_PROGRAM = "obelisk-ops"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """
    Print what makes Tab complete commands and options in SHELL.

    For bash: eval "$(obelisk-ops completion bash)" in ~/.bashrc. For zsh the same in
    ~/.zshrc, after compinit. For fish: obelisk-ops completion fish | source.
    """
    found = get_completion_class(shell)
    assert found is not None
    variable = f"_{_PROGRAM}_COMPLETE".replace("-", "_").upper()
    click.echo(found(ctx.find_root().command, {}, _PROGRAM, variable).source())
