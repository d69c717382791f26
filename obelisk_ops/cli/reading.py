"""What the commands that look at executions have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.shell_completion import CompletionItem

from obelisk_ops.cli import hints
from obelisk_ops.cli.confined import confined
from obelisk_ops.cli.databases import readable
from obelisk_ops.cli.output import note
from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.ports import ExecutionFilter, LogReader, StateRow
from obelisk_ops.core.when import parse_time
from obelisk_ops.core.words import meant
from obelisk_ops.errors import CorruptDatabase, ExecutionNotFound
from obelisk_ops.inspect.apart import read_apart
from obelisk_ops.process.apart import Limits
from obelisk_ops.report.model import RestorePoint
from obelisk_ops.restore.databases import FileHere
from obelisk_ops.restore.service import Plan
from obelisk_ops.storage import as_address, is_server, open_reader
from obelisk_ops.storage.unbegun import WholeReader
from obelisk_ops.supervise.sidecar import Sidecar

_COMPLETED_MAX = 1000
_NAMED = 20
_OFFERED = msgspec.json.Decoder(list[tuple[str, str]])
_SHELL_WAITS = Limits(time_s=2.0)
#: What is raised by a row of another form than any that was ever written, or is nested without
#: end. A database may hold anything.
_MEANINGLESS = (
    msgspec.DecodeError, RecursionError, LookupError, TypeError, ValueError, AttributeError,
)  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

_database_option = click.option(
    "--db", "database", required=True, metavar="DB", callback=hints.remember_database,
    help="A file, postgresql://…, or a backup: NAME, NAME@WHEN, s3://…",
)  # fmt: skip


def readable_option(command: F) -> F:
    """Give a command ``--db`` to read from, in a process with limits; see ``confined``."""
    return _database_option(confined(command))


def offered(
    database: str, read: Callable[[LogReader], Sequence[tuple[str, str]]]
) -> list[CompletionItem]:
    """Offer what *read* finds, a name and what it is: ``--db runs.db <TAB>``."""

    def look() -> list[tuple[str, str]]:
        with open_reader_of(None, database) as reader:
            return list(read(reader))

    with suppress(Exception):  # a shell has no use for an error
        found = read_apart(look, _OFFERED, name=database, limits=_SHELL_WAITS)
        return [CompletionItem(name, help=about) for name, about in found]
    return []


def _complete(ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the ids of a database that was named before."""
    wanted = ExecutionFilter(limit=_COMPLETED_MAX)
    return offered(
        str(ctx.params.get("database")),
        lambda reader: [
            (row.id, f"{row.function}, {row.state}")
            for row in reader.executions(wanted) if row.id.startswith(typed)
        ],
    )  # fmt: skip


id_argument = click.argument("execution_id", metavar="ID", shell_complete=_complete)


@contextmanager
def open_reader_of(
    config: Path | None, database: str, *, follow: bool = False
) -> Iterator[LogReader]:
    """
    Open what ``--db`` names to read, with what waits in its mailbox.

    Without a trace, or with *follow* a file, as its owner goes on. On a server others always
    go on, and reading leaves no trace.
    """
    if not follow or is_server(database):
        with open_at_point(config, database) as (reader, _point):
            yield reader
        return
    with readable(database, config) as place, damage_named(database):
        assert isinstance(place, FileHere)  # a backup does not go on
        with closing(open_reader(place.path)) as followed:
            yield WholeReader(followed)


@contextmanager
def open_at_point(
    config: Path | None, database: str
) -> Iterator[tuple[LogReader, RestorePoint | None]]:
    """Open what ``--db`` names without a trace; with which state it is or was, of a backup."""
    if is_server(database):
        with damage_named(database), closing(open_reader(as_address(database))) as served:
            yield WholeReader(served), None
        return
    with (
        readable(database, config) as place,
        damage_named(database),
        place.open() as connection,
    ):
        reader = WholeReader(open_reader(Path(place.name), connection))
        yield reader, _point_of(place.plan) if place.plan else _origin_of(Path(place.name))


def _origin_of(file: Path) -> RestorePoint | None:
    """Return what a file was restored from, if it was."""
    note = Sidecar(file).restored()
    if note is None:
        return None
    return RestorePoint(
        name=note.name, epoch=note.epoch, txid=note.txid, at=note.at_ms, is_copy=True
    )


def _point_of(plan: Plan) -> RestorePoint:
    return RestorePoint(
        name=plan.name, epoch=plan.point.epoch, txid=plan.point.txid, at=plan.at_ms
    )


@contextmanager
def damage_named(database: str) -> Iterator[None]:
    """
    Say of which database it is that something in it cannot be read.

    Raises:
        CorruptDatabase: It holds what nobody has written there.
    """
    try:
        yield
    except _MEANINGLESS as error:
        raise CorruptDatabase(
            f"{database} holds an event that cannot be read: {type(error).__name__}: {error}",
            hint="look at an older state: --db NAME@WHEN, or restore NAME --at WHEN",
        ) from error


def find(reader: LogReader, execution_id: str, database: str) -> StateRow:
    """
    Return one execution.

    Raises:
        ExecutionNotFound: There is no such.
    """
    row = reader.find(execution_id)
    if row is None:
        newest = reader.executions(ExecutionFilter(limit=_COMPLETED_MAX))
        near = meant(execution_id, [row.id for row in newest])
        raise ExecutionNotFound(
            f"{database} has no execution {execution_id!r}",
            hint=f"{near}see what there is: obelisk-ops execution list --db DB",
        )
    return row


def note_if_unknown(wanted: str, functions: Collection[str]) -> None:
    """Say which workflows there are, where none that ran has the name that is wanted."""
    if wanted in functions:
        return
    there = sorted(functions)
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    named = f"{', '.join(there[:_NAMED]) or 'none'}{more}"
    note(f"nothing here runs {wanted}; {meant(wanted, there)}there are: {named}")


def instant(text: str) -> int:
    """
    Return the moment that *text* names, in UTC milliseconds.

    Raises:
        InvalidWhen: It names none.
    """
    return parse_time(text, SystemClock().now_ms())


def summary(reader: LogReader, row: StateRow) -> dict[str, Any]:
    """Return the fields of an execution that every command prints alike."""
    return {
        "execution_id": row.id,
        "function": row.function,
        "state": row.state,
        "result": row.result,
        "created_at": iso(row.created_at),
        "finished_at": moment(row.finished_at),
        "parent_id": reader.get(row.parent).id if row.parent is not None else None,
        "error": row.error,
    }


def moment(at_ms: int | None) -> str | None:
    """Return a moment as it is printed, or None."""
    return None if at_ms is None else iso(at_ms)
