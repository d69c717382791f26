"""What time a bucket says it is: every answer tells it, so nobody has to ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any


class Heard:
    """
    What the answers to a request have told.

    Attributes:
        at_ms: When the last of them was given, by the clock of whoever gave it, cut to the
            second; UTC milliseconds. None if none told.
    """

    def __init__(self) -> None:
        self.at_ms: int | None = None


#: Who listens to what the present thread is answered.
HEARD: ContextVar[Heard | None] = ContextVar("heard", default=None)


def hear_answer(response_dict: Mapping[str, Any] | None = None, **_: object) -> None:
    """Note the time of an answer, refusals included, as the client hands it on."""
    hear((response_dict or {}).get("headers", {}))


def hear(headers: Mapping[str, str]) -> None:
    """Note the time in the headers of an answer, if somebody listens."""
    heard, date = HEARD.get(), headers.get("date")
    if heard is None or not date:
        return
    try:
        heard.at_ms = round(parsedate_to_datetime(date).timestamp() * 1000)
    except ValueError:
        return  # whatever stands between may write what it likes
