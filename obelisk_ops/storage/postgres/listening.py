"""Hearing that a letter was posted: a connection of its own, which a loop waits for."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from obelisk_ops.errors import OpsError
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import connect
from obelisk_ops.storage.postgres.tasks import tasks_channel


class Listener:
    """See Ears."""

    def __init__(self, place: Place, *, is_task: bool = False) -> None:
        """Listen, if the server can be reached: for letters, or for tasks."""
        self._connection: psycopg.Connection[object] | None = None
        self.is_barred = False
        channel = tasks_channel(place) if is_task else place.channel()
        with suppress(OpsError, psycopg.Error):
            connection = connect(place)
            if connection.is_pooled:
                connection.close()
                self.is_barred = True
                return
            connection.execute(f'LISTEN "{channel}"'.encode())
            self._connection = connection

    def fileno(self) -> int | None:
        """See Ears.fileno."""
        return None if self._connection is None else self._connection.fileno()

    def hear(self) -> list[str] | None:
        """See Ears.hear."""
        assert self._connection is not None
        try:
            said = [one.payload for one in self._connection.notifies(timeout=0)]
        except psycopg.Error:
            return None
        return None if self._connection.closed else said

    def close(self) -> None:
        """See Ears.close."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
