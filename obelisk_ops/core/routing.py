"""Which worker a letter is for: the one that has its execution, the keeper, or any."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from obelisk_ops.core import events, ids
from obelisk_ops.core.requests import MAKING, REQUESTS, execution_of
from obelisk_ops.errors import OpsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """
    Where a letter goes; to the keeper, if neither is given.

    Attributes:
        chain: The first link of the execution that it is for.
        function: The workflow of what it makes; empty where any worker may.
    """

    chain: str | None = None
    function: str | None = None


def route(kind: str, target: str, body: str) -> Route:
    """Return where a letter goes."""
    if kind in MAKING:
        return Route(function=_made(body) if kind == "create" else "")
    if kind in REQUESTS:
        try:
            return Route(chain=ids.split_link(execution_of(kind, target))[0])
        except (OpsError, ValueError):
            return Route()  # it is for nothing that could be, and is refused
    return Route()


def _made(body: str) -> str | None:
    try:
        created = msgspec.json.decode(body, type=events.Created)
    except msgspec.DecodeError:
        return None
    return None if created.cron else created.fn  # a schedule counts what it has started
