"""``execution fork|export|import``: executions again, elsewhere, and as files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click

from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.reading import find, id_argument, open_reader_of, readable_option
from obelisk_ops.cli.run import database_option
from obelisk_ops.cli.writing import refuse_backup
from obelisk_ops.core import bundle, forking, ids
from obelisk_ops.core.history import History
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
        plant(target.absolute(), [forked])
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
@json_option
def export(
    config: Path | None, execution_id: str, database: str, file: Path | None, *, as_json: bool
) -> None:
    """
    Write the history of an execution to a file, with the child workflows below it.

    The file is a JSON document with one event on a line. It is all that is needed to go
    on elsewhere ('execution import'), and to replay it in tests.
    """
    if file is not None:
        check_new(file)
    with open_reader_of(config, database) as reader:
        histories = family_in(reader, find(reader, execution_id, database))
    text = bundle.to_json(histories)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise TargetExists(f"{file} exists", hint="choose another file") from None
    except OSError as error:
        raise StorageUnavailable(f"{file} cannot be written: {error.strerror}") from error
    events = sum(len(one.events) for one in histories)
    if as_json:
        names = [one.execution_id for one in histories]
        print_json({"path": str(file.absolute()), "executions": names, "events": events})
    else:
        note(f"{counted(len(histories), 'execution')}, {counted(events, 'event')}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@database_option
@json_option
def import_(file: Path, database: str, *, as_json: bool) -> None:
    """
    Take executions from a file that 'execution export' wrote.

    What is unfinished goes on as soon as a worker serves it. An id that is taken is a
    conflict, and nothing is imported then. A database that does not exist is made.
    """
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
    address = as_address(database)
    if isinstance(address, Path) and not address.exists():
        plant(address, histories)
    else:
        make_if_missing(address)
        asyncio.run(_import(address, histories))
    names = [one.execution_id for one in histories]
    if as_json:
        print_json({"executions": names})
    else:
        click.echo("\n".join(names))


COMMANDS: Final = (fork, export, import_)


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
