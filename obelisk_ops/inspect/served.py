"""A summary of a database on a server: what ``inspect`` tells of a file, told by the server."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from obelisk_ops.inspect.summary import (
    FAILURES_MAX,
    Summary,
    failure,
    flying,
    told_by,
    with_counts,
)
from obelisk_ops.storage import Place, survey


def summarise_served(place: Place) -> Summary:
    """
    Read what is in a schema, all of it at one moment.

    Raises:
        DatabaseNotFound: There are no tables yet.
        VerificationFailed: A log holds something else than this program writes.
        StorageUnavailable: The server does not answer.
    """
    found = survey(place, FAILURES_MAX)
    told = with_counts(told_by(found.meta, found.size), found.census)
    return replace(
        told,
        failures=tuple(failure(*row) for row in found.failures),
        in_flight=tuple(
            call
            for (key, name, function), rows in groupby(found.open_calls, lambda row: row[:3])
            for call in flying(key, name, function, [row[3:] for row in rows])
        ),
        last_event_ms=found.last_event_ms,
    )
