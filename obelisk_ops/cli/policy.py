"""``policy``: what a key pair has to be allowed to do, as a policy that AWS and MinIO read."""

from __future__ import annotations

import json
from pathlib import Path

import click

from obelisk_ops.cli.output import json_option, print_json
from obelisk_ops.replica.policy import Role
from obelisk_ops.replica.policy import policy as policy_for
from obelisk_ops.restore.source import replica_settings
from obelisk_ops.settings import load


@click.command()
@click.option(
    "--role", required=True, type=click.Choice([role.value for role in Role]),
    help="writer: a machine that runs supervise. reader: restores, drills, a dashboard. "
    "pruner: deletes LTX files, writes nothing.",
)  # fmt: skip
@json_option
@click.pass_obj
def policy(file: Path | None, role: str, *, as_json: bool) -> None:
    """
    Print the least-privilege S3 policy for the configured bucket and prefix.

    It is an identity policy as AWS IAM has it, a JSON document, with or without --json.
    Neither credentials nor the network are used.
    """
    made = policy_for(replica_settings(load(file)), Role(role))
    if as_json:
        print_json(made)
    else:
        click.echo(json.dumps(made, indent=2))
