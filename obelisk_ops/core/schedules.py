"""What is asked of schedules, and what comes of it. Used by who asks, and by the owner."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final, Literal

import msgspec
from msgspec import Struct

from obelisk_ops.core import cron
from obelisk_ops.core.cron import Spec
from obelisk_ops.core.ports import LogReader
from obelisk_ops.core.rows import CronRow
from obelisk_ops.core.words import meant
from obelisk_ops.errors import InvalidInput, OpsError, ScheduleExists, ScheduleNotFound

#: the kind of the letters
KIND: Final = "schedule"
#: an execution's id is the schedule's and a moment, and has at most 200 letters
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=-]{0,159}")

#: facts of a schedule that follow the code of its workflow, and are nobody's decision
_OF_THE_CODE = ("timeout", "cancellable")


class Request(Struct, frozen=True, omit_defaults=True):
    """
    Body of a ``schedule`` letter.

    Attributes:
        do: What to do with the schedule.
        spec: What to put.
        paused: Whether a new one begins paused.
        replace: Whether another one of the same id gives way.
    """

    do: Literal["put", "pause", "unpause", "delete"]
    spec: Spec | None = None
    paused: bool = False
    replace: bool = False


def checked_id(schedule_id: str) -> str:
    """
    Return a caller's id unchanged.

    Raises:
        InvalidInput: It is empty, too long, or has a character that is not allowed.
    """
    if _ALLOWED.fullmatch(schedule_id):
        return schedule_id
    raise InvalidInput(
        f"{schedule_id!r} cannot be the id of a schedule",
        hint="use 1 to 160 letters, digits and . _ : + = - and begin with a letter or digit",
    )


def decode_spec(row: CronRow) -> Spec:
    """
    Read what a schedule does.

    Raises:
        msgspec.DecodeError: A later version wrote it.
    """
    return msgspec.json.decode(row.spec, type=Spec)


def applied(
    schedule_id: str, row: CronRow | None, request: Request, now_ms: int
) -> CronRow | None:
    """
    Return the schedule as it is after a request, None when it is gone.

    Args:
        schedule_id: Its id.
        row: As it is, if it is.
        request: What to do.
        now_ms: When that was asked for.

    Raises:
        ScheduleExists: It exists with other facts, and is not to be replaced.
        ScheduleNotFound: There is none to pause or unpause.
    """
    if request.do == "put":
        assert request.spec is not None
        return _put(schedule_id, row, request, request.spec, now_ms)
    if request.do == "delete":
        return None  # also when it is gone already: who had no answer may ask once more
    if row is None:
        raise not_found(schedule_id)
    match request.do:
        case "pause":
            return replace(row, paused=True)
        case "unpause":
            # What was due meanwhile is over.
            return _from(row, decode_spec(row), now_ms) if row.paused else row


def _put(
    schedule_id: str, row: CronRow | None, request: Request, spec: Spec, now_ms: int
) -> CronRow:
    text = msgspec.json.encode(spec).decode()
    if row is None:
        due = cron.next_slot(spec, now_ms)
        return CronRow(id=schedule_id, spec=text, paused=request.paused, last=now_ms, due=due)
    difference = _difference(row, spec)
    if not difference:
        return replace(row, spec=text) if _has_other_code(row, spec) else row
    if not request.replace:
        raise ScheduleExists(
            f"schedule {schedule_id!r} exists and {difference}",
            hint="use another id, or say --replace (in Python: replace=True) to change it",
        )
    return replace(_from(row, spec, now_ms), paused=row.paused, spec=text)


def _from(row: CronRow, spec: Spec, now_ms: int) -> CronRow:
    last = max(row.last, now_ms)
    return replace(row, paused=False, last=last, due=cron.next_slot(spec, last))


def _difference(row: CronRow, asked: Spec) -> str:
    try:
        known = decode_spec(row)
    except msgspec.DecodeError:
        return "was written by a later version"
    names = {"fn": "function", "input": "arguments"}
    for name in (name for name in Spec.__struct_fields__ if name not in _OF_THE_CODE):
        old, new = getattr(known, name), getattr(asked, name)
        if name == "input":
            old, new = msgspec.json.decode(old), msgspec.json.decode(new)
        if old != new:
            return f"has {names.get(name, name)} {old!r}, not {new!r}"
    return ""


def _has_other_code(row: CronRow, asked: Spec) -> bool:
    known = decode_spec(row)
    return any(getattr(known, name) != getattr(asked, name) for name in _OF_THE_CODE)


def not_found(schedule_id: str, known: Iterable[str] = ()) -> ScheduleNotFound:
    """Return the error for a schedule that does not exist, beside those that are *known*."""
    return ScheduleNotFound(
        f"there is no schedule {schedule_id!r}",
        hint=f"{meant(schedule_id, known)}see what there is: obelisk-ops schedule list --db DB",
    )


def as_asked(reader: LogReader, schedule_id: str) -> CronRow | None:
    """Return a schedule as it is once the letters that wait are answered."""
    row = reader.cron(schedule_id)
    for letter in reader.letters_to(schedule_id):
        if letter.kind == KIND and letter.target == schedule_id:
            with suppress(OpsError, msgspec.DecodeError):  # the owner passes over it, too
                request = msgspec.json.decode(letter.body, type=Request)
                row = applied(schedule_id, row, request, letter.at)
    return row


def is_news(reader: LogReader, schedule_id: str, body: str, now_ms: int) -> bool:
    """
    Return whether a request changes anything.

    Raises:
        ScheduleExists: It exists with other facts, and is not to be replaced.
        ScheduleNotFound: There is none to pause or unpause.
    """
    row = as_asked(reader, schedule_id)
    request = msgspec.json.decode(body, type=Request)
    return applied(schedule_id, row, request, now_ms) != row
