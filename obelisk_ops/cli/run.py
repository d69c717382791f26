"""``run`` drives one execution to its end; ``worker`` serves until it is told to stop."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import click
import msgspec

from obelisk_ops.cli import stdout
from obelisk_ops.cli.options import seconds_option
from obelisk_ops.cli.output import json_option, note, print_json
from obelisk_ops.cli.writing import file_to_write
from obelisk_ops.core import ids
from obelisk_ops.core.barrier import Durability
from obelisk_ops.core.values import to_json
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.flow.arguments import read_json_input
from obelisk_ops.durable.flow.loader import load_served, load_workflow
from obelisk_ops.durable.work.queues import Queue, parse_queue
from obelisk_ops.errors import ConfigError, Interrupted, InvalidInput

database_option = click.option(
    "--db", "database", required=True, metavar="DB", callback=file_to_write,
    help="Path of the SQLite file, or postgresql://…",
)  # fmt: skip
target_argument = click.argument("target", metavar="TARGET")
durability_option = click.option(
    "--durability", type=click.Choice(["local", "replicated"]), default="local",
    show_default=True,
    help="When something is acknowledged: on this disk, or in the bucket.",
)  # fmt: skip


_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_NEGATIVE_NUMBER = re.compile(r"-[0-9][0-9.eE+-]*")


class TakesJson(click.Command):
    """A command whose arguments are JSON: ``-5`` is a number, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set negative numbers off with a blank, which JSON allows."""
        marked = [f" {a}" if _NEGATIVE_NUMBER.fullmatch(a) else a for a in args]
        return super().parse_args(ctx, marked)


@click.command(cls=TakesJson)
@target_argument
@click.argument("values", nargs=-1, metavar="[JSON]...")
@database_option
@click.option("--id", "execution_id", help="The execution's id; drawn if left out.")
@durability_option
@json_option
def run(
    target: str,
    values: tuple[str, ...],
    database: str,
    execution_id: str | None,
    durability: Durability,
    as_json: bool,  # noqa: ARG001, FBT001 - the result is JSON in any case
) -> None:
    """
    Run a workflow to its end, and print its result as one line of JSON.

    TARGET is pkg.mod:function or file.py:function; each JSON is one argument. With
    --id the same command can be given again after a crash: what was done is not done
    again. What the code prints goes to stderr, and is kept ('execution output').
    """
    begun: list[str] = []

    async def drive() -> object:
        async with Engine(database, durability=durability) as engine:
            handle = await engine.submit_json(function, text, execution_id=execution_id)
            begun.append(handle.id)
            return await handle.result()

    if execution_id is not None:
        ids.checked(execution_id)  # before a file is made
    with stdout.for_the_result():
        function = load_workflow(target)
        text = read_json_input(function, list(values))
        try:
            result = asyncio.run(drive())
        except KeyboardInterrupt:
            raise _interrupted(begun) from None
    print_json(msgspec.Raw(to_json(result)))


def _interrupted(begun: list[str]) -> Interrupted:
    if not begun:
        return Interrupted("interrupted before anything had begun")
    return Interrupted(
        f"interrupted; what execution '{begun[0]}' has done stays done",
        hint=f"it goes on with the same command and --id {shlex.quote(begun[0])}",
    )


@asynccontextmanager
async def _told_to_stop(stop: Callable[[], object]) -> AsyncIterator[None]:
    """
    Call *stop* at SIGTERM and SIGINT; who is told again while it ends is told nothing new.

    Not by the loop: that would let a signal kill the process from its closing on.
    """
    loop = asyncio.get_running_loop()
    after: list[Any] = [signal.getsignal(number) for number in _STOPS]
    for number in _STOPS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
        after = [signal.SIG_IGN] * len(_STOPS)  # it ends as it was to
    finally:
        for number, handler in zip(_STOPS, after, strict=True):
            signal.signal(number, handler)


def _queue(text: str) -> Queue:
    try:
        return parse_queue(text)
    except ConfigError as wrong:
        raise InvalidInput(
            f"--queue {text!r}: {wrong.message}",
            hint=wrong.hint or "write NAME, NAME=2 or NAME=10/1m",
        ) from None


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@database_option
@click.option(
    "--queue", "queues", multiple=True, default=("default",), show_default=True,
    metavar="NAME[=LIMIT]",
    help="A queue to serve; may be repeated. LIMIT: 2 for at most 2 at the same time, 10/1m "
    "for at most 10 starts per minute.",
)  # fmt: skip
@click.option(
    "--only-activities", is_flag=True,
    help="Own no executions: only make attempts of the queues served, which the owners of "
    "executions offer (PostgreSQL).",
)  # fmt: skip
@durability_option
@click.option(
    "--grace", default=30.0, show_default=True, metavar="SECONDS", callback=seconds_option,
    help="How long running activities get to end when told to stop.",
)  # fmt: skip
def worker(
    targets: tuple[str, ...],
    database: str,
    queues: tuple[str, ...],
    only_activities: bool,  # noqa: FBT001 - an option
    durability: Durability,
    grace: float,
) -> None:
    """
    Serve the workflows of TARGET (a module, a file, or one function of it).

    Unfinished executions go on; requests of other processes are taken up. SIGTERM or
    Ctrl-C drains: nothing new is started, what runs gets --grace seconds to end.
    """
    served = [load_served(target, only_activities=only_activities) for target in targets]
    role: Literal[True, "activities"] = "activities" if only_activities else True
    limits = [_queue(text) for text in queues]

    async def serve() -> None:
        stop = asyncio.Event()
        async with (
            _told_to_stop(stop.set),
            Engine(
                database, workflows=served, queues=limits, serve=role,
                durability=durability, grace=grace,
            ) as engine,
        ):  # fmt: skip
            note(f"serving {', '.join(targets)} from {engine.path}")
            failing = asyncio.create_task(engine.failed())
            told = asyncio.create_task(stop.wait())
            done, open_ = await asyncio.wait(
                {failing, told}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in open_:
                task.cancel()
            for task in done:
                task.result()
            note("stopping")

    asyncio.run(serve())
