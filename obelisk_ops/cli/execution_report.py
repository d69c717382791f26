"""``execution report``: an execution as one page."""

from __future__ import annotations

from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final

import click

from obelisk_ops.cli.options import only_with
from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.owner import surroundings
from obelisk_ops.cli.reading import find, id_argument, open_at_point, readable_option
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.ports import LogReader
from obelisk_ops.core.why import explain
from obelisk_ops.core.words import words_for_bytes
from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.dossier import Dossier, below, dossier_of
from obelisk_ops.report.building import Setting, build
from obelisk_ops.report.model import Report
from obelisk_ops.report.page import page
from obelisk_ops.report.publishing import check, publish
from obelisk_ops.report.shape import shape

_STDOUT: Final = Path("-")
_CHILDREN_MAX: Final = 50


@click.command()
@id_argument
@click.pass_obj
@readable_option
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), metavar="FILE",
    help="The page to write; '-' is stdout.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write over a file that exists.")
@click.option(
    "--with-children", is_flag=True,
    help=f"Tell of the child workflows too, on the same page; {_CHILDREN_MAX} at most.",
)  # fmt: skip
@json_option
def report(  # noqa: PLR0913 - one for each option
    config: Path | None,
    execution_id: str,
    database: str,
    *,
    file: Path | None,
    force: bool,
    with_children: bool,
    as_json: bool,
) -> None:
    """
    Write what happened in an execution as one HTML file that needs nothing else.

    A picture of its time, every attempt, errors with tracebacks, inputs and values, what
    activities printed, what it waits for, and its log. Long values are cut, with their
    length; long runs too, and the page says where. It holds what the log holds, so keep it
    as you keep the database. With --json its contents are printed.
    """
    if file is None and not as_json:
        raise UsageError("where to?", hint="name a file: -o FILE, or -o - for stdout")
    if file == _STDOUT and as_json:
        raise UsageError("the page and the JSON cannot both go to stdout", hint="-o FILE")
    only_with("-o FILE", file not in (None, _STDOUT), force=force)
    if file not in (None, _STDOUT):
        check(file, over=force)
    told = _read(config, execution_id, database, with_children=with_children)
    if as_json:
        print_json(shape(told))
    if file == _STDOUT:
        click.echo(page(told), nl=False)
    elif file is not None:
        written = publish(page(told), file, over=force)
        note(f"{file}: {words_for_bytes(written)}")


COMMANDS: Final = (report,)


def _read(
    config: Path | None, execution_id: str, database: str, *, with_children: bool
) -> Report:
    now = SystemClock().now_ms()
    with open_at_point(config, database) as (reader, point):
        found, has_more = _family(reader, execution_id, database, with_children=with_children)
        around = surroundings(database, found[0].situation)
        for one in found[1:]:  # read apart from what was asked about
            for key, n in around.slots:
                if key == one.row.key:
                    one.situation.story.take_back(n)
        as_of = now if around.is_owned else point.at if point and not point.is_copy else 0
        places = {one.row.id: number for number, one in enumerate(found)}
        sheets = [
            build(one, Setting(database=database, as_of=as_of, places=places,
                               reasons=explain(one.situation, around)))
            for one in found
        ]  # fmt: skip
    return Report(
        program=version("obelisk-ops"), written_at=now, database=database,
        restore_point=point, sheets=tuple(sheets), has_more=has_more,
    )  # fmt: skip


def _family(
    reader: LogReader, execution_id: str, database: str, *, with_children: bool
) -> tuple[list[Dossier], bool]:
    """Return what is on record of an execution and its children; and whether there are more."""
    first = dossier_of(reader, find(reader, execution_id, database))
    if not with_children:
        return [first], False
    children = below(reader, first)
    found = [first, *islice(children, _CHILDREN_MAX)]
    return found, next(children, None) is not None
