"""
Why a server refuses a connection, by its SQLSTATE: of a failed one libpq keeps the text alone.

A server without room refuses after it has heard the password, as one does that dislikes it. So
it is asked once more, and what it says is looked at on its way.
"""

from __future__ import annotations

import os
import re
import select
import sys
from contextlib import suppress
from typing import Final

import psycopg
from psycopg.pq import PGconn, PollingStatus, Trace
from psycopg.pq.abc import PGconn as Line

_ERROR = re.compile(rb'^B\t\d+\tErrorResponse\t.* C "([0-9A-Z]{5})" M ', re.MULTILINE)
_WAIT_S: Final = 10.0
_BYTES: Final = 1 << 16
#: of a connection that could be made after all
LET_IN: Final = "00000"


def sqlstate(conninfo: str) -> str:
    """Return why a server refuses a connection; LET_IN if it does not, empty if unknown."""
    if not sys.platform.startswith("linux"):
        return ""  # libpq traces nowhere else in a form that is fixed
    seen = os.memfd_create("refusal")  # it may hold the password: in memory, and for a moment
    try:
        with suppress(psycopg.Error, OSError):
            if _connects(PGconn.connect_start(conninfo.encode()), seen):
                return LET_IN
        found = _ERROR.findall(os.pread(seen, _BYTES, 0))
        return str(found[-1].decode()) if found else ""
    finally:
        os.close(seen)


def _connects(line: Line, seen: int) -> bool:
    try:
        line.trace(seen)
        line.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        step = line.connect_poll()
        while step in (PollingStatus.READING, PollingStatus.WRITING):
            sides = (
                ([line.socket], []) if step == PollingStatus.READING else ([], [line.socket])
            )
            if not any(select.select(*sides, [], _WAIT_S)):
                return False
            step = line.connect_poll()
        line.untrace()
        return step == PollingStatus.OK
    finally:
        line.finish()
