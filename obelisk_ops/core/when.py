"""
Moments as people write them: which state of a database is meant.

    2026-11-22T10:00:00Z    ISO 8601 with a zone
    10m ago, 1h30m ago      counted from now
    latest                  the newest that is restorable
    txid:236                a transaction of the current epoch; decimal
    e0002/txid:236          a transaction of that epoch
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from obelisk_ops.core.clock import iso
from obelisk_ops.core.durations import parse_duration
from obelisk_ops.errors import InvalidWhen

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_TXID = re.compile(r"(?:e([0-9]{1,9})/)?txid:([0-9A-Za-z]+)")
_AGO = re.compile(r"(\S+)\s+ago")
_HINT = "write 2026-11-22T10:00:00Z, '10m ago', '1h30m ago', latest, txid:236 or e0002/txid:236"
_TIME_HINT = "write 2026-11-22T10:00:00Z, '10m ago' or '1h30m ago'"


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest restorable state."""


@dataclass(frozen=True, slots=True)
class At:
    """The state at a moment; ``at_ms`` is UTC milliseconds since the Unix epoch."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Txid:
    """The state after a transaction; ``epoch`` is None for the current one."""

    txid: int
    epoch: int | None = None


When: TypeAlias = Latest | At | Txid


def parse(text: str, now_ms: int) -> When:
    """
    Return the moment that *text* means.

    Raises:
        InvalidWhen: It is none of the forms above; the hint shows what to write.
    """
    text = text.strip()
    if text == "latest":
        return Latest()
    if "txid" in text:
        return _parse_txid(text)
    return At(_parse_time(text, now_ms, _HINT))


def parse_time(text: str, now_ms: int) -> int:
    """
    Return the time that *text* means, in UTC milliseconds; no state of a backup.

    Raises:
        InvalidWhen: It means none; the hint shows what to write.
    """
    text = text.strip()
    if text == "latest" or _TXID.fullmatch(text):
        raise InvalidWhen(f"{text!r} is a state of a backup, and no time", hint=_TIME_HINT)
    return _parse_time(text, now_ms, _TIME_HINT)


def _parse_time(text: str, now_ms: int, hint: str) -> int:
    found = _AGO.fullmatch(text)
    return now_ms - _milliseconds(found[1], text, hint) if found else _parse_iso(text, hint)


def show(when: When) -> str:
    """Write a moment in a form that ``parse`` reads."""
    match when:
        case Latest():
            return "latest"
        case At(at_ms):
            return iso(at_ms)
        case Txid(txid, None):
            return f"txid:{txid}"
        case Txid(txid, epoch):
            return f"e{epoch:04d}/txid:{txid}"


def _milliseconds(duration: str, text: str, hint: str) -> int:
    try:
        milliseconds = round(parse_duration(duration) * 1000)
        _EPOCH_START - timedelta(milliseconds=milliseconds)
    except ValueError:
        raise InvalidWhen(
            f"{text!r} is not a moment: {duration!r} is no duration", hint=hint
        ) from None
    except OverflowError:
        raise InvalidWhen(f"{text!r} is before all calendars", hint=hint) from None
    return milliseconds


def _parse_txid(text: str) -> Txid:
    found = _TXID.fullmatch(text)
    if not found:
        raise InvalidWhen(f"{text!r} is not a moment", hint=_HINT)
    epoch, digits = found.groups()
    if not digits.isdecimal() or (digits.startswith("0") and digits != "0"):
        raise InvalidWhen(f"{text!r} is not a transaction", hint=_txid_hint(digits))
    return Txid(int(digits), None if epoch is None else int(epoch))


def _txid_hint(digits: str) -> str:
    try:
        return f"transactions are decimal; Litestream's {digits} is txid:{int(digits, 16)}"
    except ValueError:
        return _HINT


def _parse_iso(text: str, hint: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidWhen(f"{text!r} is not a moment", hint=hint) from None
    if moment.tzinfo is None:
        day = moment.isoformat()
        raise InvalidWhen(
            f"{text!r} does not say in which time zone",
            hint=f"write {day}Z for UTC, or add an offset: {day}+02:00",
        )
    try:
        return (moment.astimezone(UTC) - _EPOCH_START) // timedelta(milliseconds=1)
    except OverflowError:
        raise InvalidWhen(f"{text!r} is outside of all calendars", hint=hint) from None
