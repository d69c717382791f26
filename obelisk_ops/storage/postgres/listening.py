"""Hearing that a letter was posted: a connection of its own, which a loop waits for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psycopg

from obelisk_ops.errors import OpsError
from obelisk_ops.storage.postgres.place import Place
from obelisk_ops.storage.postgres.session import connect
from obelisk_ops.storage.postgres.tasks import letters_channel, tasks_channel


class Listener:
    """See Ears."""

    def __init__(self, place: Place, wanted: Callable[[str], bool] | None = None) -> None:
        """Listen, if the server can be reached; for letters, or for tasks that are *wanted*."""
        self._connection: psycopg.Connection[object] | None = None
        self._wanted = wanted
        self.is_called = False
        channel = letters_channel(place) if wanted is None else tasks_channel(place)
        with suppress(OpsError, psycopg.Error):
            connection = connect(place)
            connection.execute(f'LISTEN "{channel}"'.encode())
            self._connection = connection

    def fileno(self) -> int | None:
        """See Ears.fileno."""
        return None if self._connection is None else self._connection.fileno()

    def hear(self) -> bool:
        """See Ears.hear."""
        assert self._connection is not None
        self.is_called = False
        try:
            for heard in self._connection.notifies(timeout=0):
                self.is_called |= self._wanted is None or self._wanted(heard.payload)
        except psycopg.Error:
            self.is_called = True  # whatever was said meanwhile
            return False
        return not self._connection.closed

    def close(self) -> None:
        """See Ears.close."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
