"""``execution diff``: where two runs part, or one run at two moments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from obelisk_ops.cli.output import json_option, note, print_json, print_table
from obelisk_ops.cli.reading import (
    damage_named,
    find,
    id_argument,
    open_reader_of,
    readable_option,
    summary,
)
from obelisk_ops.core.chronicle import Call
from obelisk_ops.core.difference import (
    Difference,
    Divergence,
    Pair,
    Relation,
    Side,
    What,
    compare,
)
from obelisk_ops.core.durations import rough
from obelisk_ops.core.events import Failure
from obelisk_ops.core.history import History
from obelisk_ops.core.words import counted, harmless, shorten
from obelisk_ops.errors import UsageError
from obelisk_ops.inspect.histories import history_in

_ROWS_MAX: Final = 40
_SHOWN: Final = 100
_CELL: Final = 60
_DIFFERS: Final = 1


@click.command()
@id_argument
@click.argument("other_id", required=False, metavar="[ID2]")
@click.pass_obj
@readable_option
@click.option(
    "--db2", "other_database", metavar="DB",
    help="Where the second one is, if elsewhere, or at another moment.",
)  # fmt: skip
@click.option(
    "--exit-code", "as_status", is_flag=True, help="Exit with 1 if they differ, as git does."
)
@json_option
def diff(  # noqa: PLR0913 - one for each option
    config: Path | None,
    execution_id: str,
    other_id: str | None,
    database: str,
    *,
    other_database: str | None,
    as_status: bool,
    as_json: bool,
) -> None:
    """
    Compare two executions, or one at two moments: where they part, then call by call.

    What counts is what the code asked for and what it was told. Times, attempts, and the
    order in which answers came are shown, and are no difference. Without ID2 it is the
    same execution, in another database or at another moment of a backup (--db2).
    """
    if other_id in (None, execution_id) and other_database in (None, database):
        raise UsageError(
            "an execution does not differ from itself",
            hint="name a second one, or another database or moment: --db2 NAME@WHEN",
        )
    left = _read(config, execution_id, database)
    right = _read(config, other_id or execution_id, other_database or database)
    with damage_named(f"{database} or {other_database or database}"):
        found = compare(left.history, right.history)
    if as_json:
        print_json(_shape(found, left, right))
    else:
        _tell(found, left, right)
    if as_status and found.relation is not Relation.EQUAL:
        sys.exit(_DIFFERS)


COMMANDS: Final = (diff,)


@dataclass(frozen=True, slots=True)
class _Read:
    """One of the two, as it is printed."""

    shown: dict[str, Any]
    history: History


def _read(config: Path | None, execution_id: str, database: str) -> _Read:
    with open_reader_of(config, database) as reader:
        row = find(reader, execution_id, database)
        history = history_in(reader, row)
        shown = summary(reader, row) | {"database": database, "events": len(history.events)}
    return _Read(shown, history)


# -- for scripts -----------------------------------------------------------------------


def _shape(found: Difference, left: _Read, right: _Read) -> dict[str, Any]:
    return {
        "left": left.shown,
        "right": right.shown,
        "relation": found.relation,
        "shared_events": found.shared,
        "first": _first(found.first) if found.first else None,
        "other_order": found.other_order,
        "calls": [_pair(pair) for pair in found.pairs],
    }


def _first(first: Divergence) -> dict[str, Any]:
    return {
        "what": first.what, "n": first.n, "left": _side(first.left),
        "right": _side(first.right), "changes": [asdict(one) for one in first.changes],
    }  # fmt: skip


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "version": side.version, "kind": side.kind, "function": side.function or None,
        "arguments": _raw(side.arguments), "outcome": side.outcome, "value": _raw(side.value),
        "error": _error(side.error),
    }  # fmt: skip


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "n": pair.n, "left": _call(pair.left), "right": _call(pair.right),
        "differs": pair.differs, "changes": [asdict(one) for one in pair.changes],
    }  # fmt: skip


def _call(call: Call | None) -> dict[str, Any] | None:
    if call is None:
        return None
    took = None if call.told_at is None else max(call.told_at - call.asked_at, 0)
    return {
        "kind": call.kind, "function": call.function or None, "version": call.version,
        "outcome": call.outcome, "attempts": len(call.attempts), "duration_ms": took,
        "error": _error(call.error),
    }  # fmt: skip


def _raw(value: bytes | None) -> msgspec.Raw | None:
    return None if value is None else msgspec.Raw(value)


def _error(error: Failure | None) -> str | None:
    return None if error is None else f"{error.type}: {error.message}"


# -- for people ------------------------------------------------------------------------


def _tell(found: Difference, left: _Read, right: _Read) -> None:
    columns = ("", "execution", "database", "function", "state", "result", "events")
    print_table(columns, [
        (side, one["execution_id"], one["database"], one["function"], one["state"],
         one["result"], one["events"])
        for side, one in (("left", left.shown), ("right", right.shown))
    ])  # fmt: skip
    click.echo()
    for line in _lines(found):
        click.echo(harmless(line))
    rows = [row for pair in found.pairs if (row := _row(pair))]
    if rows:
        click.echo()
        print_table(("call", "what", "left", "right", "differs in"), rows[:_ROWS_MAX])
    if len(rows) > _ROWS_MAX:
        note(f"and {counted(len(rows) - _ROWS_MAX, 'call')} more; --json has all of them")


def _lines(found: Difference) -> Iterator[str]:
    if found.shared:
        yield f"the same log up to version {found.shared}"
    yield _RELATIONS[found.relation]
    if found.first is not None:
        number = "" if found.first.n is None else f"call {found.first.n}, "
        yield f"first difference: {number}{_WORDS[found.first.what]}"
        yield f"  left   {_written(found.first.left)}"
        yield f"  right  {_written(found.first.right)}"
        for one in found.first.changes:
            yield f"    {one.path}: {_cell(one.left)} → {_cell(one.right)}"
    if found.other_order is not None:
        left, right = found.other_order
        yield f"answers came in another order: call {left} at the left, {right} at the right"


_RELATIONS: Final = {
    Relation.EQUAL: "they do not differ",
    Relation.LEFT_BEHIND: "the same as far as the left one goes; the right one goes on",
    Relation.RIGHT_BEHIND: "the same as far as the right one goes; the left one goes on",
    Relation.DIVERGED: "they differ",
}
_WORDS: Final = {
    What.FUNCTION: "other workflows",
    What.INPUT: "other arguments of the workflow",
    What.CALL: "the code asks for something else",
    What.ANSWER: "another answer",
    What.END: "another end",
    What.MORE: "one has not come to it",
}


def _written(side: Side | None) -> str:
    if side is None:
        return "—"
    words = f"version {side.version}: {side.kind} {side.function}".rstrip()
    if side.outcome is not None:
        told = _error(side.error) or _text(side.value)
        return f"{words}: {side.outcome} {shorten(told, _SHOWN)}".rstrip()
    return f"{words} {shorten(_text(side.arguments), _SHOWN)}".rstrip()


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")


def _cell(value: str | None) -> str:
    return "—" if value is None else shorten(value, _CELL)


def _row(pair: Pair) -> tuple[object, ...] | None:
    """Return what is shown of a call, if there is anything to show."""
    is_same = not pair.differs and _reach(pair.left) == _reach(pair.right)
    if is_same:
        return None
    call = pair.left or pair.right
    assert call is not None
    differs = ", ".join(pair.differs)
    if pair.changes:
        one = pair.changes[0]
        more = f" and {len(pair.changes) - 1} more" if len(pair.changes) > 1 else ""
        differs += f": {one.path} {_cell(one.left)} → {_cell(one.right)}{more}"
    what = f"{call.kind} {call.function}".rstrip()
    return (pair.n, what, _outcome(pair.left), _outcome(pair.right), differs or None)


def _reach(call: Call | None) -> str | None:
    return None if call is None else call.outcome


def _outcome(call: Call | None) -> str | None:
    if call is None:
        return None
    took = "" if call.told_at is None else f", {rough(call.told_at - call.asked_at)}"
    tries = f", {counted(len(call.attempts), 'attempt')}" if len(call.attempts) > 1 else ""
    return f"{call.outcome}{took}{tries}"
