"""``check``: proves the path from here to the bucket, one named check after the other."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obelisk_ops.cli.options import not_together
from obelisk_ops.cli.output import json_option, print_json
from obelisk_ops.core.words import harmless
from obelisk_ops.errors import UsageError

if TYPE_CHECKING:
    from obelisk_ops.check.finding import Finding

_NAME_COLUMNS = 19


@click.command()
@click.option(
    "--only", multiple=True, metavar="NAME",
    help="This check and what it rests on; may be repeated.",
)  # fmt: skip
@click.option(
    "--skip", "without", multiple=True, metavar="NAME",
    help="Leave this check out; may be repeated.",
)  # fmt: skip
@click.option(
    "--nagios", is_flag=True,
    help="One line with performance data, and exit 0, 1, 2 or 3 as Nagios wants it.",
)  # fmt: skip
@json_option
@click.pass_obj
def check(
    config: Path | None,
    *,
    only: tuple[str, ...],
    without: tuple[str, ...],
    nagios: bool,
    as_json: bool,
) -> None:
    """
    Prove the path from a database here to an object in the bucket.

    Programs, folders, limits, clock, credentials by real requests, what the bucket is
    set to do; then a change of a scratch database, shipped by a real Litestream and
    found by our own listing. Nothing is left behind. One cause is one FAIL: what rests
    on it is SKIP. A WARN does not change the exit status, except with --nagios.
    """
    not_together(nagios=nagios, json=as_json)
    both = sorted(set(only) & set(without))
    if both:
        raise UsageError(
            f"--only {both[0]} and --skip {both[0]} do not go together", hint="choose"
        )
    from obelisk_ops.app import checks  # noqa: PLC0415 - loads every room
    from obelisk_ops.check import finding  # noqa: PLC0415

    # So that what is in the bucket is removed before this ends, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told: list[Finding] = []
    with closing(checks(config, only=only, without=without)) as found:
        for each in found:
            told.append(each)
            if not (as_json or nagios):
                click.echo(harmless(_line(each)))
    if nagios:
        line, status = finding.nagios(told)
        click.echo(harmless(line))
    else:
        status = finding.exit_status(told)
    if as_json:
        print_json({"checks": [_shape(each) for each in told]})
    click.get_current_context().exit(status)


def _line(each: Finding) -> str:
    hint = f" ({each.told.hint})" if each.told.hint else ""
    name = f"{each.name}:".ljust(_NAME_COLUMNS)
    return f"{each.told.outcome.upper():4} {name} {each.told.detail}{hint}"


def _shape(each: Finding) -> dict[str, Any]:
    told = each.told
    return {
        "name": each.name, "outcome": told.outcome, "detail": told.detail, "hint": told.hint,
        "code": told.code or None,
    }  # fmt: skip
