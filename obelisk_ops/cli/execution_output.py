"""``execution output``: what the activities of an execution printed and logged."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.reading import find, id_argument, open_reader_of, readable_option
from obelisk_ops.core.clock import iso
from obelisk_ops.core.fold import CallStory, fold
from obelisk_ops.core.ports import Output
from obelisk_ops.core.words import counted, harmless
from obelisk_ops.errors import NotFound

_CUT = "cut"
_STREAM_WIDTH = 6


@click.command()
@id_argument
@click.pass_obj
@readable_option
@click.option("--call", "n", type=click.IntRange(1), metavar="N", help="Only of this call.")
@click.option("--attempt", type=click.IntRange(1), metavar="K", help="Only of these attempts.")
@json_option
def output(
    config: Path | None,
    execution_id: str,
    database: str,
    *,
    n: int | None,
    attempt: int | None,
    as_json: bool,
) -> None:
    """
    Print what the activities of an execution printed and logged, attempt by attempt.

    It is kept when an attempt ends, of much its beginning and its end. 'execution show'
    has the numbers of the calls.
    """
    with open_reader_of(config, database) as reader:
        row = find(reader, execution_id, database)
        calls, pieces = fold(reader.log(row.key)).calls, reader.outputs(row.key)
    _check(execution_id, calls, n, attempt)
    chosen = [one for one in pieces if n in (None, one.n) and attempt in (None, one.attempt)]
    if as_json:
        shown = [_shape(one, calls.get(one.n)) for one in chosen]
        print_json({"execution_id": execution_id, "output": shown})
        return
    for line in _lines(chosen, calls):
        click.echo(line)
    if not chosen:
        note("nothing is on record that its activities printed or logged")
    for call in calls.values():
        if call.is_in_flight and n in (None, call.n) and attempt in (None, call.attempts):
            note(
                f"call {call.n}, attempt {call.attempts}, has not ended: "
                "what it prints is kept when it does"
            )


COMMANDS: Final = (output,)


def _check(
    execution_id: str, calls: dict[int, CallStory], n: int | None, attempt: int | None
) -> None:
    """
    Refuse calls and attempts that there are not.

    Raises:
        NotFound: There is no such call of an activity, or no such attempt.
    """
    attempts = {call.n: call.attempts for call in calls.values() if call.kind == "activity"}
    if n is not None and n not in attempts:
        there = ", ".join(map(str, attempts)) or "none"
        raise NotFound(
            f"execution {execution_id!r} has no activity call {n}; there are: {there}",
            hint=f"see its calls: obelisk-ops execution show {shlex.quote(execution_id)} "
            "--db DB",
        )
    highest = max(attempts.values(), default=0) if n is None else attempts[n]
    if attempt is not None and attempt > highest:
        whose = f"execution {execution_id!r}" if n is None else f"call {n}"
        raise NotFound(
            f"{whose} has no attempt {attempt}; {_attempts(highest)}",
            hint="leave --attempt out to see all that is on record",
        )


def _attempts(count: int) -> str:
    if count == 0:
        return "none has begun"
    return "there is but one" if count == 1 else f"there are 1 to {count}"


def _shape(piece: Output, call: CallStory | None) -> dict[str, Any]:
    is_cut = piece.stream == _CUT
    return {
        "n": piece.n,
        "function": call.function if call else None,
        "attempt": piece.attempt,
        "stream": piece.stream,
        "at": iso(piece.at),
        "text": None if is_cut else piece.text,
        "cut_bytes": _number(piece.text) if is_cut else None,
    }


def _lines(pieces: Iterable[Output], calls: dict[int, CallStory]) -> Iterator[str]:
    for (n, attempt), found in groupby(pieces, key=lambda one: (one.n, one.attempt)):
        name = calls[n].function if n in calls else "unknown"
        yield harmless(f"call {n}, {name}, attempt {attempt}")
        for piece in found:
            if piece.stream == _CUT:
                yield f"  … {counted(_number(piece.text), 'byte')} left out …"
            else:
                yield from _written(piece)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0  # a database may hold anything


def _written(piece: Output) -> Iterator[str]:
    """Yield the lines of a piece, the first one with its time; a bar that is redrawn too."""
    head = f"  {iso(piece.at)} {piece.stream:{_STREAM_WIDTH}}  "
    text = piece.text.replace("\r\n", "\n").replace("\r", "\n")
    for line in text.removesuffix("\n").split("\n"):
        yield harmless(f"{head}{line}", spared="\t").rstrip()
        head = " " * len(head)
