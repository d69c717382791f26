"""``export --move``, ``unpause --take-back``: who may go on with an execution, and who not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from obelisk_ops.cli.reading import find, open_reader_of
from obelisk_ops.core import requests
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.fold import fold
from obelisk_ops.core.history import History
from obelisk_ops.core.moving import in_flight
from obelisk_ops.durable.engine import Engine
from obelisk_ops.durable.unattended import answer_letters
from obelisk_ops.errors import Conflict, ExecutionEnded, NotFinished
from obelisk_ops.inspect.histories import family_in
from obelisk_ops.storage import as_address, is_owned

_ANSWER_S: Final = 30.0
_POLL_S: Final = 0.05
_SEAL: Final = requests.encode(requests.Pause(moved=True))
_UNSEAL: Final = requests.encode(requests.Unpause(take_back=True))
_clock = SystemClock()


def seal(database: str, execution_id: str, wait_s: float) -> None:
    """
    Pause an execution and all below it for good, and wait until nothing of them runs.

    Asking again changes nothing, and waits on.

    Raises:
        Conflict: It belongs to another execution, or something of it is being cancelled.
        NotFinished: Somebody has not answered, or an attempt runs on.
    """
    with open_reader_of(None, database) as reader:
        row = find(reader, execution_id, database)
        if row.parent is not None:
            above = reader.get(row.parent).id
            raise Conflict(
                f"execution {execution_id!r} belongs to {above!r}, which waits for it here",
                hint=f"move that one: obelisk-ops execution export {above} --move --db DB",
            )
    while free := [one for one in _unfinished(database, execution_id) if not _is_sealed(one)]:
        for one in free:
            _refuse_cancelling(one)
        asyncio.run(_ask_all(database, "pause", _SEAL, [one.execution_id for one in free]))
    _wait_for_rest(database, execution_id, wait_s)


def take_back(database: str, execution_id: str) -> None:
    """Let an execution that was to be moved go on here, with what is below it first."""
    sealed = [one for one in _unfinished(database, execution_id) if _is_sealed(one)]
    below = [one.execution_id for one in reversed(sealed) if one.execution_id != execution_id]
    asyncio.run(_ask_all(database, "unpause", _UNSEAL, below))


def is_alive(database: str) -> bool:
    """Tell whether a process may be going on with what is unfinished in a database."""
    return is_owned(as_address(database))


def _unfinished(database: str, execution_id: str) -> list[History]:
    with open_reader_of(None, database) as reader:
        family = family_in(reader, find(reader, execution_id, database))
    return [one for one in family if not fold(one.events).has_ended]


def _is_sealed(history: History) -> bool:
    return fold(history.events).is_moved


def _refuse_cancelling(history: History) -> None:
    if fold(history.events).cancelled_at is not None:
        raise Conflict(
            f"execution {history.execution_id!r} is being cancelled",
            hint="let its clean-up end here, then move it",
        )


async def _ask_all(database: str, kind: str, body: str, names: list[str]) -> None:
    address = as_address(database)
    async with Engine(address, serve=False) as engine:
        for name in names:
            with suppress(ExecutionEnded):  # meanwhile
                await engine.ask(kind, name, body)
        await answer_letters(address)
        for name in names:
            if await engine.when_answered(name, _ANSWER_S) is None:
                raise NotFinished(
                    f"the owner of the database has not answered what is asked of {name!r}",
                    hint="it will; give the command again then",
                )


def _wait_for_rest(database: str, execution_id: str, wait_s: float) -> None:
    until = _clock.elapsed_ms() + wait_s * 1000
    # Where nobody owns the database, what was running there has ended with its process.
    while is_alive(database) and (running := in_flight(_unfinished(database, execution_id))):
        if _clock.elapsed_ms() >= until:
            call_id, call = running[0]
            raise NotFinished(
                f"an attempt of {call_id!r}, {call.function}, runs on: nothing was written",
                hint="all else is paused; give the command again when that has ended, or take "
                f"it back: obelisk-ops execution unpause {execution_id} --take-back --db DB",
            )
        asyncio.run(asyncio.sleep(_POLL_S))
