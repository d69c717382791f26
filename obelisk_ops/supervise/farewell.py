"""
Stop a database's process, and tell the truth about what it leaves behind.

Litestream ends with status 0 while data is unsent. So what counts is our own
listing after the end, against what is on this disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from obelisk_ops.core.words import counted
from obelisk_ops.errors import OpsError
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import State, words_if_ahead
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.tracker import Tracker

#: What Litestream gets to end, in the times that its last sync may take.
_END_SHARE = 1.25
_REAP_S = 1.0

PROVEN, UNSENT, UNKNOWN = 0, 5, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Farewell:
    """
    What was left behind for one database.

    Attributes:
        exit_status: 0 nothing, 5 something, 4 could not be found out.
        transactions: Transactions and commits that are not proven to be in the bucket.
        size: Bytes of committed WAL among them that were not even put into a file to ship.
        detail: The same in words.
    """

    exit_status: int
    detail: str
    transactions: int | None = None
    size: int | None = None


async def take_leave(
    keepers: Sequence[Keeper],
    leavers: Iterable[Keeper],
    fleet: Fleet,
    *,
    hurry: asyncio.Event,
    within_s: float,
) -> dict[str, Farewell]:
    """
    Ship the rest of all databases at the same time, and end every process.

    Args:
        keepers: The databases that are looked after.
        leavers: Those that no longer are; their processes are still ending.
        fleet: What they share.
        hurry: When it is set, everything ends at once.
        within_s: After so long, everything ends at once too.

    Returns:
        What was left behind, by name; also of those that were cut short.
    """
    retired = list(leavers)
    found: dict[str, Farewell] = {}

    async def leave(keeper: Keeper) -> None:
        found[keeper.name] = await finish(keeper, fleet)

    endings = [end(keeper.process, fleet) for keeper in retired if keeper.process]
    leaving = asyncio.gather(*(leave(keeper) for keeper in keepers), *endings)
    hurrying = asyncio.ensure_future(hurry.wait())
    waiting: list[asyncio.Future[Any]] = [leaving, hurrying]
    await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not leaving.done():
        why = "stopped at once" if hurry.is_set() else f"{within_s:.0f} s to stop are over"
        for keeper in (*keepers, *retired):
            if keeper.process:
                keeper.process.kill()
        for keeper in keepers:
            found.setdefault(keeper.name, _cut_short(keeper, why))
        leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    for keeper in (*keepers, *retired):
        keeper.release()
    return found


async def finish(keeper: Keeper, fleet: Fleet) -> Farewell:
    """Ship the rest if that is possible, end the process, and find out what is unsent."""
    await keeper.doubts.settle()
    process = keeper.process
    if process is not None:
        await _ship(process, keeper, fleet)
        await end(process, fleet)
    doubt = keeper.doubts.problem()
    if doubt is not None:
        return Farewell(exit_status=UNKNOWN, detail=doubt.text)
    tracker = keeper.tracker
    if tracker is None or not _has_file(keeper):
        return _without_position(keeper)
    tracker.close()
    tracker.saw(0)
    try:
        await tracker.ask_now()
    except OpsError:
        return _unproven(keeper, _bucket_trouble(fleet))
    return _measured(tracker)


async def end(process: Litestream, fleet: Fleet) -> None:
    """Ask a process to end, and end it if it does not."""
    process.terminate()
    if not await process.wait(fleet.litestream.shutdown_sync_s * _END_SHARE):
        process.kill()
        await process.wait(_REAP_S)


async def _ship(process: Litestream, keeper: Keeper, fleet: Fleet) -> None:
    if keeper.tracker is None:
        return
    with suppress(OpsError):
        # While S3 is down a sync would only wait twice: the end of the process tries as well.
        await keeper.tracker.ask_now()
        timeout_s = fleet.litestream.shutdown_sync_s
        await process.control.sync(keeper.path, timeout_s=timeout_s)


def _cut_short(keeper: Keeper, why: str) -> Farewell:
    if keeper.tracker is None or not _has_file(keeper):
        return _without_position(keeper)
    return _unproven(keeper, why)


def _has_file(keeper: Keeper) -> bool:
    return keeper.verdict().reason != "database_not_found"


def _without_position(keeper: Keeper) -> Farewell:
    health = keeper.verdict()
    if health.state is State.STARTING and health.reason == "database_not_found":
        return Farewell(
            exit_status=PROVEN, detail="there is no file yet", transactions=0, size=0
        )
    why = f": {health.detail}" if health.detail else ""
    return Farewell(exit_status=UNKNOWN, detail=f"nothing is known of what is unsent{why}")


def _bucket_trouble(fleet: Fleet) -> str:
    problem = fleet.bucket.problem
    if problem is None:
        return "the bucket was not read"
    return f"{problem.text}: {problem.why}".rstrip(": ")


def _unproven(keeper: Keeper, why: str) -> Farewell:
    health = keeper.verdict()
    if health.unsent_transactions is None:
        what = "it is not known what is unsent"
    elif keeper.tracker and keeper.tracker.is_settled:
        what = "nothing was unsent when the bucket was last read"
    else:
        what = f"{_amount(health.unsent_transactions, health.unsent_bytes)} not proven"
    return Farewell(
        exit_status=UNKNOWN,
        detail=f"{what}; {why}",
        transactions=health.unsent_transactions,
        size=health.unsent_bytes,
    )


def _measured(tracker: Tracker) -> Farewell:
    local, remote = tracker.local, tracker.remote
    if local is None or remote is None or local.tail is None:
        return Farewell(exit_status=UNKNOWN, detail="the local position cannot be read")
    if tracker.is_settled:
        detail = f"everything up to transaction {local.txid} is in the bucket"
        return Farewell(exit_status=PROVEN, detail=detail, transactions=0, size=0)
    ahead = words_if_ahead(replica_txid=remote.txid, local_txid=local.txid)
    if ahead:
        return Farewell(exit_status=UNKNOWN, detail=ahead)
    transactions = local.txid - remote.txid + local.tail.commits
    return Farewell(
        exit_status=UNSENT,
        detail=f"{_amount(transactions, local.tail.size)} unsent",
        transactions=transactions,
        size=local.tail.size,
    )


def _amount(transactions: int, size: int | None) -> str:
    behind = f" and {size} bytes of write-ahead log" if size else ""
    return f"{counted(transactions, 'transaction')}{behind}"
