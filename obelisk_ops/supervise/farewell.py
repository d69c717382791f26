"""
Stop the processes, and tell the truth about what it leaves behind.

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

_LISTINGS_AT_ONCE = 4
#: Of the databases of one process.
_SYNCS_AT_ONCE = 16


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
    processes: Iterable[Litestream],
    fleet: Fleet,
    *,
    hurry: asyncio.Event,
    within_s: float,
) -> dict[str, Farewell]:
    """
    Ship the rest of all databases at the same time, and end every process.

    Args:
        keepers: The databases that are looked after.
        processes: All that run, also those of databases that are given up.
        fleet: What they share.
        hurry: When it is set, everything ends at once.
        within_s: After so long, everything ends at once too.

    Returns:
        What was left behind, by name; also of those that were cut short.
    """
    running, found = list(processes), dict[str, Farewell]()
    leaving = asyncio.ensure_future(_leave(keepers, running, fleet, found))
    hurrying = asyncio.ensure_future(hurry.wait())
    waiting: list[asyncio.Future[Any]] = [leaving, hurrying]
    await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not leaving.done():
        why = "stopped at once" if hurry.is_set() else "the time to stop is over"
        for process in running:
            process.kill()
        for keeper in keepers:
            found.setdefault(keeper.name, _cut_short(keeper, why))
        leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    return found


async def _leave(
    keepers: Sequence[Keeper],
    processes: Sequence[Litestream],
    fleet: Fleet,
    found: dict[str, Farewell],
) -> None:
    served: dict[Litestream | None, list[Keeper]] = {process: [] for process in processes}
    for keeper in keepers:
        served.setdefault(keeper.process, []).append(keeper)
    # As soon as the bucket does not answer, the others need not ask it.
    slots = asyncio.Semaphore(_LISTINGS_AT_ONCE)

    async def finish(process: Litestream | None, some: Sequence[Keeper]) -> None:
        await asyncio.gather(*(keeper.doubts.settle() for keeper in some))
        if process is not None:
            await _ship(process, some, fleet)
            await _end(process, fleet)
        for keeper in some:
            async with slots:
                found[keeper.name] = await _account(keeper, fleet)

    await asyncio.gather(*(finish(process, some) for process, some in served.items()))


async def _ship(process: Litestream, keepers: Sequence[Keeper], fleet: Fleet) -> None:
    """Ship what is left, many databases at once: told to end, it takes one after the other."""
    timeout_s = fleet.litestream.shutdown_sync_s
    slots = asyncio.Semaphore(_SYNCS_AT_ONCE)

    async def ship(keeper: Keeper) -> None:
        with suppress(OpsError):
            async with slots:
                await process.control.sync(keeper.path, timeout_s=timeout_s)

    known = [keeper for keeper in keepers if keeper.tracker is not None]
    with suppress(OpsError, TimeoutError):
        async with asyncio.timeout(timeout_s + 1):
            # While S3 is down a sync would only wait twice: the end of the process tries too.
            for tracker in filter(None, (keeper.tracker for keeper in known[:1])):
                await tracker.ask_now()
            await asyncio.gather(*map(ship, known))


async def _end(process: Litestream, fleet: Fleet) -> None:
    process.terminate()
    if not await process.wait(fleet.litestream.shutdown_sync_s * _END_SHARE):
        process.kill()
        await process.wait(_REAP_S)


async def _account(keeper: Keeper, fleet: Fleet) -> Farewell:
    doubt = keeper.doubts.problem()
    if doubt is not None:
        return Farewell(exit_status=UNKNOWN, detail=doubt.text)
    tracker = keeper.tracker
    if tracker is None or not _has_file(keeper):
        return _without_position(keeper)
    tracker.close()
    tracker.saw(0)
    try:
        if fleet.bucket.is_ready():
            await tracker.ask_now(whole=True)
            return _measured(tracker)
    except OpsError:
        pass
    finally:
        tracker.save()
    return _unproven(keeper, _bucket_trouble(fleet))


def _cut_short(keeper: Keeper, why: str) -> Farewell:
    if keeper.tracker is None or not _has_file(keeper):
        return _without_position(keeper)
    return _unproven(keeper, why)


def _has_file(keeper: Keeper) -> bool:
    return keeper.verdict().reason != "database_not_found"


def _without_position(keeper: Keeper) -> Farewell:
    health = keeper.verdict()
    if keeper.path.exists() and health.reason == "database_not_found":
        return Farewell(
            exit_status=UNKNOWN, detail="the file is new: nothing of it was shipped"
        )
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
    if local is None or remote is None or local.tail is None or _trouble(tracker):
        why = _trouble(tracker) or "the local position cannot be read"
        return Farewell(exit_status=UNKNOWN, detail=why)
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


def _trouble(tracker: Tracker) -> str:
    """Say why what is listed proves nothing; empty where it does."""
    if tracker.intrusion is not None:
        return tracker.intrusion.words
    return tracker.missing.text if tracker.missing else ""


def _amount(transactions: int, size: int | None) -> str:
    behind = f" and {size} bytes of write-ahead log" if size else ""
    return f"{counted(transactions, 'transaction')}{behind}"
