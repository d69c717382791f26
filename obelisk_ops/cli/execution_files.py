"""``execution fork|export|import``: executions again, elsewhere, and as files."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from obelisk_ops.cli.databases import is_backup
from obelisk_ops.cli.execution_move import is_alive, seal
from obelisk_ops.cli.options import seconds_option
from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.reading import find, id_argument, open_reader_of, readable_option
from obelisk_ops.cli.run import database_option
from obelisk_ops.cli.writing import refuse_backup
from obelisk_ops.core import bundle, forking, ids
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.history import LIVE, MOVED, History
from obelisk_ops.core.moving import arrive, is_held
from obelisk_ops.core.words import counted
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.unattended import answer_letters, plant
from obelisk_ops.errors import (
    Conflict,
    ExecutionExists,
    ExecutionNotFound,
    InvalidInput,
    NotFound,
    StorageUnavailable,
    TargetExists,
)
from obelisk_ops.inspect.histories import family_in, history_in
from obelisk_ops.storage import Address, as_address, make_if_missing
from obelisk_ops.storage.targets import check_new

_ANSWER_S = 5.0
_ELSEWHERE = "choose another path"


@click.command()
@id_argument
@click.pass_obj
@readable_option
@click.option(
    "--from-version", required=True, type=int, metavar="N",
    help="The first event that it does not share: what stands before it is kept.",
)  # fmt: skip
@click.option("--id", "new_id", metavar="NEW", help="Its id; ID.fork-N if left out.")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), metavar="PATH",
    help="Make it in a new file, and leave DB as it is.",
)  # fmt: skip
@json_option
def fork(  # noqa: PLR0913 - one for each option
    config: Path | None,
    execution_id: str,
    database: str,
    *,
    from_version: int,
    new_id: str | None,
    target: Path | None,
    as_json: bool,
) -> None:
    """
    Start an execution that begins with the same events as another one.

    Its code is replayed with what stands before version N, and goes on from there: after
    a mistake in the code, or with another answer. Timers fire when they were to fire,
    activities that ran by then run again under new call ids, signals and results that had
    arrived have arrived. A child workflow that was open by then is taken over with its
    outcome; without one the fork is refused. The original is not touched.
    """
    if target is None:
        refuse_backup(database, config)
        name = asyncio.run(_fork(as_address(database), execution_id, from_version, new_id))
    else:
        check_new(target.absolute(), instead=_ELSEWHERE)
        name = forking.default_id(execution_id, from_version) if new_id is None else new_id
        with open_reader_of(config, database) as reader:
            origin = history_in(reader, find(reader, execution_id, database))
            forked = forking.fork(origin, from_version, ids.checked(name))
        plant(target.absolute(), [replace(forked, created_at=SystemClock().now_ms())])
    if as_json:
        shown = {"execution_id": name, "forked_from": execution_id, "version": from_version}
        print_json(shown | {"path": str(target.absolute()) if target else None})
    else:
        click.echo(name)


@click.command()
@id_argument
@click.pass_obj
@readable_option
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), metavar="FILE",
    help="The file to write; stdout if left out.",
)  # fmt: skip
@click.option(
    "--move",
    is_flag=True,
    help="Pause it for good where it is, first: it goes on where FILE is imported.",
)
@click.option(
    "--wait", "wait_s", default=30.0, show_default=True, metavar="SECONDS",
    callback=seconds_option, help="With --move: how long activities that run may take to end.",
)  # fmt: skip
@json_option
def export(  # noqa: PLR0913 - one for each option
    config: Path | None,
    execution_id: str,
    database: str,
    file: Path | None,
    *,
    move: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """
    Write all that is known of an execution to a file, with the child workflows below it.

    The file is a JSON document with one event on a line. It is all that is needed to go
    on elsewhere ('execution import'), and to replay it in tests.

    What is unfinished is copied as it is at the moment, and is not disturbed; a copy of one
    that a worker goes on with arrives paused. With --move it never goes on here again.
    """
    if file is not None:
        check_new(file)
    if move:
        if file is None:
            raise click.UsageError("--move needs -o FILE: it goes on from what is in there")
        refuse_backup(database, config)
        seal(database, execution_id, wait_s)
    with open_reader_of(config, database) as reader:
        histories = family_in(reader, find(reader, execution_id, database))
    histories = _with_source(histories, database, is_moved=move)
    text = bundle.to_json(histories)
    if file is None:
        click.echo(text, nl=False)
        return
    _write(file, text)
    events = sum(len(one.events) for one in histories)
    if as_json:
        names = [one.execution_id for one in histories]
        print_json({"path": str(file.absolute()), "executions": names, "events": events})
    else:
        note(f"{counted(len(histories), 'execution')}, {counted(events, 'event')}")
    if any(one.source == LIVE for one in histories):
        note("it goes on where it is: this is a copy; to let it go on elsewhere: --move")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@database_option
@click.option("--paused", is_flag=True, help="Let nothing of it start until it is unpaused.")
@click.option(
    "--resume", is_flag=True,
    help="Let also a copy go on. What goes on at its source as well is done twice.",
)  # fmt: skip
@json_option
def import_(file: Path, database: str, *, paused: bool, resume: bool, as_json: bool) -> None:
    """
    Take executions from a file that 'execution export' wrote.

    What is unfinished goes on as soon as a worker serves it, if it was moved (--move) or
    nobody went on with it where it was. A copy of what goes on elsewhere, or of a backup,
    arrives paused. An id that is taken is a conflict, and nothing is imported then. A database
    that does not exist is made.
    """
    if paused and resume:
        raise click.UsageError("--paused and --resume contradict each other")
    try:
        histories = bundle.from_json(file.read_bytes())
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {file}",
            hint="name what this has written: obelisk-ops execution export ID -o FILE --db DB",
        ) from None
    except OSError as error:
        raise InvalidInput(
            f"{file} cannot be read: {error.strerror}",
            hint="give the file that an execution was exported to",
        ) from error
    now_ms = SystemClock().now_ms()
    histories = [arrive(one, now_ms, resume=resume, paused=paused) for one in histories]
    address = as_address(database)
    if isinstance(address, Path) and not address.exists():
        plant(address, histories)
    else:
        make_if_missing(address)
        asyncio.run(_import(address, histories))
    names = [one.execution_id for one in histories]
    held = [one.execution_id for one in histories if is_held(one)]
    if as_json:
        print_json({"executions": names, "paused": held})
        return
    click.echo("\n".join(names))
    if held:
        note(f"paused: {', '.join(held)}")


COMMANDS: Final = (fork, export, import_)


def _write(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())  # what was moved is nowhere else to go on from
    except FileExistsError:
        raise TargetExists(f"{file} exists", hint="choose another file") from None
    except OSError as error:
        raise StorageUnavailable(f"{file} cannot be written: {error.strerror}") from error


def _with_source(histories: list[History], database: str, *, is_moved: bool) -> list[History]:
    """Say of what is unfinished whether somebody may go on with it where it is."""
    is_live = not is_moved and (is_backup(database) or is_alive(database))
    source = MOVED if is_moved else LIVE if is_live else ""
    return [
        one if one.events[-1].kind == "finished" else replace(one, source=source)
        for one in histories
    ]


async def _fork(path: Address, execution_id: str, version: int, new_id: str | None) -> str:
    async with Engine(path, serve=False) as engine:
        handle = await engine.fork(execution_id, from_version=version, id=new_id)
        await answer_letters(path)
        await _check(engine, handle.id)
        return handle.id


async def _import(path: Address, histories: list[History]) -> None:
    async with Engine(path, serve=False) as engine:
        for one in histories[1:]:
            if engine.find(one.execution_id) is not None:
                raise ExecutionExists(f"execution {one.execution_id!r} exists")
        root = histories[0].execution_id
        await engine.ask("import", root, bundle.to_json(histories))
        await answer_letters(path)
        await _check(engine, root)


async def _check(engine: Engine, execution_id: str) -> None:
    try:
        row = await engine.when_answered(execution_id, _ANSWER_S)
    except ExecutionNotFound:
        raise Conflict(
            f"the owner of the database refused to make {execution_id!r}",
            hint="its log says why",
        ) from None
    if row is None:
        note("the owner of the database has not answered yet; it will")
