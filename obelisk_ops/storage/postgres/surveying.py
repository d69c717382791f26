"""What is in a schema, all of it at one moment: counts, failures, what is under way."""

from __future__ import annotations

from contextlib import closing

import msgspec

from obelisk_ops.storage.postgres import Survey
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import Session


def survey(place: Place, failures_max: int) -> Survey:
    """
    Read it; see Survey.

    Raises:
        DatabaseNotFound: There are no tables yet.
        StorageUnavailable: The server does not answer.
    """
    with closing(Session(place)) as session, session.transaction():
        [(size,)] = session.rows("survey_size")
        [(last_event_ms,)] = session.rows("survey_last_event")
        return Survey(
            size=size,
            meta=dict(session.rows("read_meta")),
            census=session.rows("survey_census"),
            failures=[
                (name, function, error and msgspec.json.decode(error), *last)
                for name, function, error, *last
                in session.rows("survey_failures", (failures_max,))
            ],
            open_calls=session.rows("survey_open_calls"),
            last_event_ms=last_event_ms,
        )  # fmt: skip
