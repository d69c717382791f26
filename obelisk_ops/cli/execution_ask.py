"""``execution submit|cancel|pause|…``: asking something of a database's owner."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click
import msgspec
from msgspec import Raw

from obelisk_ops.cli import execution_move, stdout
from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.reading import id_argument
from obelisk_ops.cli.run import TakesJson, database_option, target_argument
from obelisk_ops.core import ids, requests
from obelisk_ops.core.events import Failure
from obelisk_ops.core.words import meant
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.flow.arguments import read_json_input
from obelisk_ops.durable.flow.loader import load_workflow
from obelisk_ops.durable.unattended import answer_letters
from obelisk_ops.errors import ExecutionNotFound, InvalidInput
from obelisk_ops.storage import Address, as_address

_ANSWER_S = 2.0
_POLL_S = 0.01


@click.command(cls=TakesJson)
@target_argument
@click.argument("values", nargs=-1, metavar="[JSON]...")
@database_option
@click.option("--id", "execution_id", help="The execution's id; drawn if left out.")
@click.option("--paused", is_flag=True, help="Begin nothing until it is unpaused.")
@json_option
def submit(
    target: str,
    values: tuple[str, ...],
    database: str,
    execution_id: str | None,
    *,
    paused: bool,
    as_json: bool,  # noqa: ARG001 - the answer is JSON in any case
) -> None:
    """
    Ask the owner of a database to run a workflow, and return at once.

    Prints one line of JSON: the id, and whether it is new. The request is durable when
    the command returns, also while no worker runs. A database that does not exist is made.
    """
    if execution_id is not None:
        ids.checked(execution_id)
    with stdout.for_the_result():
        function = load_workflow(target)
    text = read_json_input(function, list(values))

    async def ask() -> tuple[str, bool]:
        async with Engine(database, serve=False) as engine:
            handle = await engine.submit_json(
                function, text, execution_id=execution_id, paused=paused
            )
            return handle.id, handle.created

    name, created = asyncio.run(ask())
    print_json({"execution_id": name, "created": created})


@click.command()
@id_argument
@database_option
@json_option
def cancel(execution_id: str, database: str, *, as_json: bool) -> None:
    """
    Cancel an execution: Cancelled is raised once where its code waits.

    Its clean-up may go on for a while ('execution why' says with what). Asking again
    changes nothing; one that is finished, or does not let itself be cancelled, is a
    conflict.
    """
    _ask(database, "cancel", execution_id, as_json=as_json)


@click.command()
@id_argument
@database_option
@json_option
def pause(execution_id: str, database: str, *, as_json: bool) -> None:
    """Let nothing of an execution start until it is unpaused; what runs may end."""
    _ask(database, "pause", execution_id, as_json=as_json)


@click.command()
@id_argument
@database_option
@click.option(
    "--take-back", is_flag=True,
    help="Also if it was moved ('execution export --move'). What was imported goes on, too.",
)  # fmt: skip
@json_option
def unpause(execution_id: str, database: str, *, take_back: bool, as_json: bool) -> None:
    """Let a paused execution go on."""
    if take_back:
        execution_move.take_back(database, execution_id)
    body = requests.encode(requests.Unpause(take_back=take_back))
    _ask(database, "unpause", execution_id, body, as_json=as_json)


@click.command(cls=TakesJson)
@id_argument
@click.argument("name", metavar="NAME")
@click.argument("value", metavar="JSON")
@database_option
@click.option("--signal-id", help="A second signal with this id is accepted and dropped.")
@json_option
def signal(
    execution_id: str,
    name: str,
    value: str,
    database: str,
    *,
    signal_id: str | None,
    as_json: bool,
) -> None:
    """Send a signal to an execution; it is kept until its code receives it."""
    if not name:
        raise InvalidInput("a signal has a name", hint="the one that its code receives")
    body = requests.Signal(name=name, value=_json(value), id=signal_id or "")
    _ask(database, "signal", execution_id, requests.encode(body), as_json=as_json)


@click.command(cls=TakesJson)
@click.argument("call_id", metavar="ID")
@click.argument("value", metavar="[JSON]", required=False)
@database_option
@click.option("--error", metavar="TEXT", help="Fail the call with this text instead.")
@json_option
def stub(
    call_id: str, value: str | None, database: str, *, error: str | None, as_json: bool
) -> None:
    """
    Give a stub its result; ID is that of the call, as in order-42/3.

    The same result again is accepted and changes nothing, another one is a conflict.
    """
    if (value is None) == (error is None):
        raise click.UsageError("give the result as JSON, or --error TEXT")
    if error is not None:
        failure = Failure(type="obelisk_ops.errors.ActivityFailed", message=error)
        body = requests.Answer(error=failure)
    else:
        assert value is not None
        body = requests.Answer(ok=_json(value))
    _ask(database, "stub", call_id, requests.encode(body), as_json=as_json)


COMMANDS: Final = (submit, cancel, pause, unpause, signal, stub)


def _json(text: str) -> Raw:
    try:
        msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"this is no JSON: {text[:200]!r} ({error})",
            hint="""a text needs its own quotes, as in '"tea"'""",
        ) from error
    return Raw(text.strip().encode())


def _ask(database: str, kind: str, target: str, body: str = "{}", *, as_json: bool) -> None:
    """Ask, see to it that it is answered, and print where the execution is then."""
    changed, state = asyncio.run(_asked(as_address(database), kind, target, body))
    execution_id = requests.execution_of(kind, target)
    if as_json:
        shown: dict[str, Any] = {"execution_id": execution_id, "changed": changed}
        print_json(shown | {"state": state})
        return
    if state is None:
        note("the owner of the database has not answered yet; it will")
    elif not changed:
        note("it was so already")
    click.echo(f"{execution_id}: {state or 'asked for'}")


async def _asked(path: Address, kind: str, target: str, body: str) -> tuple[bool, str | None]:
    async with Engine(path, serve=False) as engine:
        try:
            changed = await engine.ask(kind, target, body)
        except ExecutionNotFound as nobody:
            near = meant(requests.execution_of(kind, target), [r.id for r in engine.list()])
            raise ExecutionNotFound(nobody.message, hint=near + nobody.hint) from None
        await answer_letters(path)
        row = await engine.when_answered(requests.execution_of(kind, target), _ANSWER_S)
        return changed, None if row is None else row.state
