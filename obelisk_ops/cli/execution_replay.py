"""``execution replay``: code against a log, to the end or step by step; writes nothing."""

from __future__ import annotations

import pdb  # noqa: T100 - the command offers it
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from obelisk_ops.cli import stdout
from obelisk_ops.cli.databases import is_backup
from obelisk_ops.cli.options import not_together
from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.reading import find, id_argument, open_reader_of, readable_option
from obelisk_ops.core.clock import iso
from obelisk_ops.core.history import History
from obelisk_ops.core.words import harmless
from obelisk_ops.durable.flow.debugging import Place, Stop, replay_to, short
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.loader import load_named
from obelisk_ops.errors import InvalidInput
from obelisk_ops.inspect.histories import history_in
from obelisk_ops.process import apart

_HELP = "n next, p previous, NUMBER that version, l locals, w where it is, q quit"


@click.command()
@id_argument
@click.argument("target", required=False, metavar="[TARGET]")
@click.pass_obj
@readable_option
@click.option("--until", type=int, metavar="V", help="Only up to this version of the log.")
@click.option("--step", is_flag=True, help="Look at it event by event.")
@click.option(
    "--pdb", "with_pdb", is_flag=True,
    help="Open Python's debugger where the code is then, or where it does not fit.",
)  # fmt: skip
@json_option
def replay(  # noqa: PLR0913 - one for each option
    config: Path | None,
    execution_id: str,
    target: str | None,
    database: str,
    *,
    until: int | None,
    step: bool,
    with_pdb: bool,
    as_json: bool,
) -> None:
    """
    Run a workflow's code against the log of an execution; nothing is done or written.

    TARGET is a file, a module, or one function of it; without it the module is imported
    by the name in the log. Exit status 14 says that the code does not fit: it names the
    version, what the log has there, and what the code asks for instead.
    """
    not_together(step=step, pdb=with_pdb, json=as_json)
    with open_reader_of(config, database) as reader:
        row = find(reader, execution_id, database)
        history = history_in(reader, row)
    apart.lift()  # from here on it is the user's code
    with stdout.for_the_result():
        function = load_named(target, history.function)
    last = len(history.events) - 1
    if until is not None and not 0 <= until <= last:
        raise InvalidInput(
            f"the log has the versions 0 to {last}, not {until}",
            hint="see them: obelisk-ops execution events ID --db DB",
        )
    if step:
        stop = _walk(history, function, until or 0)
        _refuse(history, function, stop, database)
        return
    with stdout.for_the_result():
        stop = replay_to(history, function, last if until is None else until)
    if with_pdb:
        _debug(stop)
    _refuse(history, function, stop, database)
    if as_json:
        print_json(_shape(history, stop))
    else:
        if stop.version or not stop.cut_short:
            click.echo(f"{execution_id}: the code fits versions 0 to {stop.version}")
        _tell(stop)


COMMANDS: Final = (replay,)


def _shape(history: History, stop: Stop) -> dict[str, Any]:
    return {
        "execution_id": history.execution_id,
        "function": history.function,
        "version": stop.version,
        "finished": stop.has_finished,
        "cut_short": stop.cut_short or None,
        "asks_for": stop.asks,
        "waits_for": stop.waits,
        "stack": [
            {"function": place.function, "file": place.file, "line": place.line}
            for place in stop.places
        ],
    }


def _tell(stop: Stop) -> None:
    for asked in stop.asks:
        click.echo(harmless(f"  asks for {asked}"))
    for waited in stop.waits:
        click.echo(harmless(f"  waits for {waited}"))
    if stop.cut_short:
        click.echo(f"  {stop.cut_short}: the end in its log is not its code's")
    if stop.has_finished:
        click.echo("  it has come to its end")
    if stop.places:
        click.echo(f"  at {_where(stop.places[-1])}")


def _where(place: Place) -> str:
    return f"{place.file}:{place.line} in {place.function}"


def _debug(stop: Stop) -> None:
    trace = stop.traceback()
    if stop.error is not None:
        note(stop.error.message)
    if trace is None:
        click.echo("the code is nowhere: it has come to its end, or never began", err=True)
    else:
        pdb.post_mortem(trace)


def _refuse(history: History, function: Workflow[Any, Any], stop: Stop, database: str) -> None:
    """Raise that the code does not fit, if it does not, and what can be done about it."""
    if stop.error is None:
        return
    # The file may have another name than the module in the log; the function has not.
    meant, given = (name.rpartition(".")[2] for name in (history.function, function.name))
    if meant != given:
        raise InvalidInput(
            f"{history.execution_id} is a {history.function}, not a {function.name}",
            hint=f"name its own function; if that is the one: {stop.error.message}",
        )
    if is_backup(database):  # nothing is forked into it
        stop.error.hint = stop.error.hint.replace("--db DB", "--to FILE --db DB")
    raise stop.error


def _walk(history: History, function: Workflow[Any, Any], version: int) -> Stop:
    """Show one event after the other, as the person at the keyboard says."""
    stop = _show(history, function, version)
    while True:
        click.echo(f"[{stop.version}/{len(history.events) - 1}] ({_HELP}) ", nl=False)
        line = sys.stdin.readline()
        word = line.strip() or "n"
        if not line or word in ("q", "quit"):
            click.echo()
            break
        if word in _LOOKS:
            _LOOKS[word](stop)
            continue
        wanted = {"n": stop.version + 1, "p": stop.version - 1}.get(word)
        if wanted is None and word.isdecimal():
            wanted = int(word)
        if wanted is None or not 0 <= wanted < len(history.events):
            click.echo("there is nothing there")
        else:
            stop = _show(history, function, wanted)
    return stop


def _show(history: History, function: Workflow[Any, Any], version: int) -> Stop:
    event = history.events[version]
    click.echo(f"\n{version}  {iso(event.at)}  {short(event)}")
    with stdout.for_the_result():
        stop = replay_to(history, function, version)
    if stop.error is not None:
        click.echo(harmless(f"  {stop.error.message}"))
    _tell(stop)
    return stop


def _show_locals(stop: Stop) -> None:
    if not stop.places:
        click.echo("the code is nowhere")
        return
    for name, value in stop.places[-1].frame.f_locals.items():
        click.echo(f"  {name} = {_safe_repr(value)}")


def _show_places(stop: Stop) -> None:
    for place in stop.places:
        click.echo(f"  {_where(place)}")


def _safe_repr(value: object, limit: int = 300) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - somebody else's code
        text = f"<{type(value).__name__}: {type(error).__name__} when shown>"
    return text if len(text) <= limit else text[:limit] + "…"


_LOOKS: dict[str, Callable[[Stop], None]] = {
    "l": _show_locals,
    "locals": _show_locals,
    "w": _show_places,
    "where": _show_places,
}
