"""
What the supervisor tells the engine of the right to act on a database.

It stands in ``owner.json`` beside the file: until when no other machine can have taken the
database over. After that moment nothing new may be started here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.process import boot_id
from obelisk_ops.storage import Address
from obelisk_ops.storage.sqlite import beside

_LET_GO = "if it is to go on without one, remove owner.json beside the database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tether:
    """
    How far the engine may go by itself.

    Attributes:
        until_ms: After this moment, by ``Clock.elapsed_ms``, no activity may be started;
            None where no supervisor has a say.
        why: Why not, in words.
        is_lost: Whether another machine owns it: what is asked of it here is never done.
    """

    until_ms: int | None = None
    why: str = ""
    is_lost: bool = False


#: What is known of a supervisor whose word cannot be read: that it may have one.
UNREAD: Mapping[str, object] = {"is_unread": True}


def facts(database: Address, known: Mapping[str, object] = UNREAD) -> Mapping[str, object]:
    """
    Return what the supervisor wrote beside *database*; *known* if it cannot be read.

    Who knows nothing yet is told what it wrote when the epoch was opened, in ``opened.json``:
    a loss of power may have emptied the other one. That it is of another boot shows in it.
    """
    # No supervisor looks after a server.
    return _facts_in(beside.folder(database), known) if isinstance(database, Path) else {}


def _facts_in(folder: Path, known: Mapping[str, object]) -> Mapping[str, object]:
    try:
        return _read(folder / "owner.json")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        if known is not UNREAD:
            return known
    try:
        opened = _read(folder / "opened.json")
    except (OSError, ValueError):
        return UNREAD
    # Without a deadline it would let go of what the other one may hold.
    return opened if isinstance(opened.get("lease_deadline_ms"), int) else UNREAD


def _read(note: Path) -> dict[str, object]:
    read = json.loads(note.read_text())
    if not isinstance(read, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as what is no JSON at all
    return read


def tether_of(told: Mapping[str, object], database: Address) -> Tether:
    """Return how far an engine of *database* may go, by what its supervisor told."""
    if not isinstance(database, Path):
        return Tether()
    try:
        inode = database.stat().st_ino
    except FileNotFoundError:
        return Tether()  # what was told is of a file that is gone
    except OSError as error:
        if not told:
            return Tether()
        why = f"whether its supervisor means this file cannot be seen: {error.strerror}"
        return Tether(until_ms=0, why=why)
    return judge(told, inode=inode, boot=boot_id())


def barred(database: Address, clock: Clock) -> Tether:
    """Return why an engine of *database* would start nothing now; none where it would."""
    tether = tether_of(facts(database), database)
    is_over = tether.until_ms is not None and clock.elapsed_ms() >= tether.until_ms
    return tether if is_over else Tether()


def judge(told: Mapping[str, object], *, inode: int, boot: str) -> Tether:
    """
    Return how far an engine may go.

    Args:
        told: What the supervisor wrote.
        inode: The file that the engine has opened.
        boot: This run of the machine.
    """
    if told is UNREAD:
        why = "what its supervisor wrote in owner.json beside it cannot be read"
        return Tether(until_ms=0, why=f"{why}; {_LET_GO}")
    until_ms = told.get("lease_deadline_ms")
    if not isinstance(until_ms, int) or told.get("inode") != inode:
        return Tether()  # no supervisor, one that was stopped, or of another file
    if until_ms == 0:
        why = "another machine owns this database: stop what serves it here"
        why = f"{why}; see 'obelisk-ops status'; {_LET_GO}"
        return Tether(until_ms=0, why=why, is_lost=True)
    if told.get("boot_id") != boot:
        why = "its supervisor was not started since this machine was"
        return Tether(until_ms=0, why=f"{why}; {_LET_GO}")
    why = "the lease of its supervisor has run out: it is frozen, killed, or without S3"
    return Tether(until_ms=until_ms, why=f"{why}; {_LET_GO}")
