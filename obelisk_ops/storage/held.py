"""A database that this process owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.tasks import Board
from obelisk_ops.core.workers import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """
    The owner's side of a database, until it is let go of.

    Attributes:
        store: What is open.
        last_owner_closed: Whether the owner before gave it up by itself.
        shared: What it can, if several workers share it.
        release: Gives it up; after the store was closed.
        board: Where attempts are offered to other workers; None where there can be none.
    """

    store: ArchiveStore
    last_owner_closed: bool
    release: Callable[[], None]
    board: Board | None = None
    shared: Shared | None = None
