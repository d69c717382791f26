"""
Schedules: which moments they name, and what to do at each. Pure; given the time.

A *slot* is a moment that a schedule names, in UTC milliseconds. Each slot becomes one
execution, or is skipped; either is decided once, in the order of the slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Raw, Struct, field, structs

from obelisk_ops.core.clock import iso
from obelisk_ops.core.words import counted
from obelisk_ops.errors import InvalidInput

OVERLAPS = ("skip", "allow", "buffer_one", "cancel_other")
CATCH_UPS = ("one", "all", "none")
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

#: a slot that is looked at within this time was not missed
ON_TIME_MS = 10_000
#: a clock set back by more than this has been wrong: do not wait until it is there again
SET_BACK_MS = 3_600_000
#: slots decided in one go; the rest at once after that
BATCH = 100
_MINUTE_MS = 60_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_LONGEST_MS = 100 * 366 * 86_400_000
_FIELDS = 5
_HINT = "five fields: minute hour day-of-month month day-of-week, as in '0 3 * * *'"


class Spec(Struct, frozen=True, omit_defaults=True):
    """
    What a schedule does, and when; on disk as JSON.

    Attributes:
        fn: The workflow.
        input: Its arguments, a JSON array.
        cron: Five fields, read in ``timezone``; or empty.
        every: Milliseconds between slots, counted from 1970-01-01T00:00:00Z; or 0.
        timezone: Name of a zone of the IANA database.
        overlap: What becomes of a slot while an execution of the schedule runs: one
            of OVERLAPS.
        catch_up: What becomes of slots that were missed: one of CATCH_UPS, or how old
            (milliseconds) a slot may be that is still made up for.
        timeout: Of the workflow, as its code said last; milliseconds, 0 for none.
        cancellable: Whether the workflow lets itself be cancelled, likewise.
    """

    fn: str
    input: Raw = field(name="in")
    cron: str = ""
    every: int = 0
    timezone: str = "UTC"
    overlap: str = "skip"
    catch_up: str | int = "one"
    timeout: int = 0
    cancellable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Where a schedule stands.

    Attributes:
        last: Slots up to this moment are decided.
        waiting: A slot that is to start when what runs has ended.
        running: How many of its executions are unfinished.
        is_paused: Whether nothing may start.
    """

    last: int
    waiting: int | None = None
    running: int = 0
    is_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is to be done now.

    Attributes:
        start: Slots that become executions, oldest first.
        cancel_running: Whether the executions that run are to be cancelled.
        waiting: See Standing.
        skipped: How many slots came to nothing because of what runs.
        missed: Whether slots were passed over because nobody was there.
        last: See Standing.
        due: The first slot after ``last``; None if there is none.
        look_at: When to plan again; None: when something changes.
    """

    start: tuple[int, ...] = ()
    cancel_running: bool = False
    waiting: int | None = None
    skipped: int = 0
    missed: bool = False
    last: int
    due: int | None = None
    look_at: int | None = None


def decide(spec: Spec, standing: Standing, now: int) -> Plan:
    """Say what a schedule has to do at *now*, UTC milliseconds."""
    last = standing.last if now >= standing.last - SET_BACK_MS else now
    if standing.is_paused:
        due = next_slot(spec, max(last, now))
        return Plan(waiting=standing.waiting, last=last, due=due)
    slots, last, missed = _caught_up(spec, last, now)
    start, waiting, skipped = _admit(spec.overlap, slots, standing)
    due = next_slot(spec, last)
    return Plan(
        start=tuple(start),
        cancel_running=spec.overlap == "cancel_other" and waiting is not None,
        waiting=waiting,
        skipped=skipped,
        missed=missed,
        last=last,
        due=due,
        look_at=due,
    )


def _caught_up(spec: Spec, last: int, now: int) -> tuple[list[int], int, bool]:
    """Return the slots to make, the moment up to which that decides, and if any was missed."""
    newest = newest_slot(spec, last, now)
    if newest is None:
        return [], last, False
    earliest = _earliest(spec.catch_up, last, newest, now)
    slots = list(islice(slots_after(spec, earliest - 1, until=now), BATCH))
    decided = slots[-1] if len(slots) == BATCH else newest
    return slots, decided, next(slots_after(spec, last)) < earliest


def _earliest(catch_up: str | int, last: int, newest: int, now: int) -> int:
    """Return the moment before which slots are passed over."""
    if catch_up == "all":
        return last + 1
    is_wanted = catch_up == "one" or now - newest <= ON_TIME_MS
    earliest = newest if is_wanted else now + 1
    if isinstance(catch_up, int):
        earliest = min(earliest, now - catch_up)
    return max(earliest, last + 1)


def _admit(
    overlap: str, slots: list[int], standing: Standing
) -> tuple[list[int], int | None, int]:
    """Return which slots start now, which one waits, and how many come to nothing."""
    queue = [*([] if standing.waiting is None else [standing.waiting]), *slots]
    if overlap == "allow":
        return queue, None, 0
    if overlap == "cancel_other":
        chosen = queue[-1:]
        skipped = len(queue) - len(chosen)
        if standing.running:
            return [], chosen[0] if chosen else None, skipped
        return chosen, None, skipped
    start = [] if standing.running else queue[:1]
    rest = queue[len(start) :]
    keeps_one = overlap == "buffer_one" or rest[:1] == [standing.waiting]
    waiting = rest[0] if rest and keeps_one else None
    return start, waiting, len(rest) - (waiting is not None)


# -- slots -----------------------------------------------------------------------------


def slots_after(spec: Spec, after: int, *, until: int | None = None) -> Iterator[int]:
    """Yield the slots later than *after*, in order, up to *until*."""
    found = _every(spec.every, after) if spec.every else _cron(spec, after)
    for slot in found:
        if until is not None and slot > until:
            return
        yield slot


def next_slot(spec: Spec, after: int) -> int | None:
    """Return the first slot later than *after*; None if there is none."""
    return next(slots_after(spec, after), None)


def newest_slot(spec: Spec, after: int, until: int) -> int | None:
    """Return the last slot later than *after* and not later than *until*."""
    if spec.every:
        slot = until - until % spec.every
        return slot if slot > after else None
    span = 60 * _MINUTE_MS
    while True:
        begin = max(after, until - span)
        newest = None
        for slot in slots_after(spec, begin, until=until):
            newest = slot
        if newest is not None or begin == after:
            return newest
        span *= 8  # rare slots: look further back


def _every(every: int, after: int) -> Iterator[int]:
    slot = after - after % every
    while True:
        slot += every
        yield slot


def _cron(spec: Spec, after: int) -> Iterator[int]:
    begin = _EPOCH + timedelta(milliseconds=after)
    last = after
    for moment in CronSim(spec.cron, begin.astimezone(_zone(spec.timezone))):
        slot = (moment.astimezone(UTC) - _EPOCH) // _MS
        # An hour that comes twice, or a gap, can name a moment again that was named before.
        if slot > last:
            last = slot
            yield slot


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


# -- as people write it ----------------------------------------------------------------


def checked(spec: Spec, now: int) -> Spec:
    """
    Return a schedule that makes sense, written in one way.

    Raises:
        InvalidInput: It does not; the message says which part, the hint what to write.
    """
    if bool(spec.cron) == bool(spec.every):
        raise InvalidInput(
            "a schedule has either cron= or every=", hint="as in cron='0 3 * * *'"
        )
    if spec.overlap not in OVERLAPS:
        raise InvalidInput(
            f"overlap={spec.overlap!r} is not known", hint=f"one of {', '.join(OVERLAPS)}"
        )
    if isinstance(spec.catch_up, str) and spec.catch_up not in CATCH_UPS:
        raise InvalidInput(
            f"catch_up={spec.catch_up!r} is not known",
            hint=f"one of {', '.join(CATCH_UPS)}, or how old a missed run may be: a timedelta",
        )
    if spec.every > _LONGEST_MS:
        raise InvalidInput(
            "every= is longer than a century", hint="nobody will be there: write it like 30d"
        )
    _check_zone(spec)
    return _checked_cron(spec, now) if spec.cron else spec


def _check_zone(spec: Spec) -> None:
    if spec.every and spec.timezone != "UTC":
        raise InvalidInput(
            "every= takes no timezone", hint="use cron= for a time of the day in a zone"
        )
    try:
        _zone(spec.timezone)
    except (LookupError, ValueError, OSError):
        raise InvalidInput(
            f"{spec.timezone!r} is no time zone that is known here",
            hint="write it like Europe/Berlin; where the system has no zones: "
            "pip install tzdata",
        ) from None


def _checked_cron(spec: Spec, now: int) -> Spec:
    words = NICKNAMES.get(spec.cron.strip().lower(), spec.cron).split()
    written = " ".join(words)
    if len(words) == _FIELDS + 1:
        raise InvalidInput(
            f"{written!r} has six fields; seconds are not supported",
            hint="leave out the first field, or use every=timedelta(seconds=…)",
        )
    if written.startswith("@"):
        raise InvalidInput(
            f"{written!r} is not known", hint=f"one of {', '.join(NICKNAMES)}; or {_HINT}"
        )
    if len(words) != _FIELDS:
        raise InvalidInput(f"{written!r} has {counted(len(words), 'field')}", hint=_HINT)
    found = structs.replace(spec, cron=written)
    try:
        first = next_slot(found, now)
    except CronSimError as error:
        raise InvalidInput(f"{written!r} is no schedule: {error}", hint=_HINT) from None
    if first is None:
        raise InvalidInput(f"{written!r} names a day that never comes", hint=_HINT)
    return found


def slot_id(schedule_id: str, slot: int) -> str:
    """Return the id of the execution that a slot becomes: ``nightly@2026-11-23T03:00:00Z``."""
    return f"{schedule_id}@{iso(slot).replace('.000Z', 'Z')}"
