"""Hearing that a letter was posted: a connection of its own, which a loop waits for."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from obelisk_ops.errors import OpsError
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import connect
from obelisk_ops.storage.postgres.store import channel


class Listener:
    """See Ears."""

    def __init__(self, place: Place) -> None:
        """Listen, if the server can be reached."""
        self._connection: psycopg.Connection[object] | None = None
        with suppress(OpsError, psycopg.Error):
            connection = connect(place)
            connection.execute(f'LISTEN "{channel(place)}"'.encode())
            self._connection = connection

    def fileno(self) -> int | None:
        """See Ears.fileno."""
        return None if self._connection is None else self._connection.fileno()

    def hear(self) -> bool:
        """See Ears.hear."""
        assert self._connection is not None
        try:
            for _ in self._connection.notifies(timeout=0):
                pass
        except psycopg.Error:
            return False
        return not self._connection.closed

    def close(self) -> None:
        """See Ears.close."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
