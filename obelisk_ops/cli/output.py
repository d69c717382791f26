"""What commands print: JSON for scripts, tables for people. Data on stdout, else stderr."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from obelisk_ops.core.words import harmless
from obelisk_ops.errors import OpsError
from obelisk_ops.settings.secrets import hide

_PATIENCE_S = 1.0

F = TypeVar("F", bound=Callable[..., Any])


def _ask_for_json(ctx: click.Context, _param: click.Parameter, value: bool) -> bool:  # noqa: FBT001
    if value:
        ctx.find_root().meta["obelisk_ops.json"] = True
        _wanted["json"] = True
    return value


#: set while the command line is parsed; an error after that is printed in the same form
_wanted: dict[str, bool] = {}


def json_option(command: F) -> F:
    """Give a command ``--json``; the function gets it as ``as_json``."""
    option = click.option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_ask_for_json,
        help="Print JSON; its fields are stable.",
    )  # fmt: skip
    return option(command)


def want_json(*, wanted: bool) -> None:
    """Say in which form an error is printed when the command line cannot be parsed."""
    if wanted:
        _wanted["json"] = True


def forget_form() -> None:
    """Begin a command: in which form errors are printed is its own to say."""
    _wanted.clear()


def print_json(value: object) -> None:
    """Print *value* as one line of JSON on stdout; what a terminal might obey is escaped."""
    click.echo(_escaped(msgspec.json.encode(value).decode()))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else json.dumps(ch)[1:-1] for ch in text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """
    Print rows under upper-case column heads; on a pipe, without cutting any cell.

    None is shown as a dash. Control characters of cells are shown, never sent
    to the terminal.
    """
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        _print_plainly(columns, rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column.upper(), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
    console.print(table)


def _print_plainly(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    # By hand: rich takes a third of a second for every thousand rows.
    lines = [[column.upper() for column in columns], *map(_cells, rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cells(row: Sequence[object]) -> list[str]:
    return ["—" if value is None else harmless(str(value)) for value in row]


def note(message: str) -> None:
    """Print a line for people on stderr."""
    click.echo(harmless(message, spared="\n\t"), err=True)


@contextmanager
def waiting(line: Callable[[], str]) -> Iterator[None]:
    """Show on a terminal what takes long, until the block ends; print nothing in it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    live = Live(get_renderable=lambda: Text(harmless(line())), console=console, transient=True)
    late = threading.Timer(_PATIENCE_S, live.start)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()
        late.join()
        live.stop()


def print_error(error: OpsError) -> None:
    """Print an error on stderr: two lines for people, or one line of JSON as the last one."""
    message, hint = hide(error.message), hide(error.hint)
    if _wanted.get("json"):
        shape = {"code": error.code, "message": message, "hint": hint}
        click.echo(_escaped(msgspec.json.encode({"error": shape}).decode()), err=True)
        return
    note(f"error: {message}")
    if hint:
        note(f" hint: {hint}")
