"""What a restored file must pass before it may appear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from obelisk_ops.errors import CorruptDatabase, VerificationFailed
from obelisk_ops.inspect import summary
from obelisk_ops.inspect.apart import read_apart
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.process.apart import Limits

#: bytes that are checked per second at the very least; below that something is wrong
_SLOWEST_BYTES_PER_S = 1_000_000
_PATIENCE_S = 60.0
_MORE = "the disk is slow, or the database is made to be; restore an earlier point"

_OK = "ok"
_SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """
    The checks by name, with what they found, and what was in flight.

    A check says ``ok``, or ``skipped`` and why. One that fails is an error.
    """

    checks: dict[str, str]
    in_flight: tuple[InFlight, ...] = ()


_CHECKED = msgspec.json.Decoder(Checked)


def check_copy(path: Path) -> Checked:
    """
    Check a file that nobody else can have open, in a process of its own.

    Raises:
        CorruptDatabase: SQLite finds it damaged.
        VerificationFailed: A log of a workflow database has a hole.
        LimitExceeded: That takes too long, or too much memory.
        ReaderCrashed: The process that read it crashed.
    """
    limit_s = _PATIENCE_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    return read_apart(
        lambda: _check(path, limit_s), _CHECKED, name=path, limits=Limits(time_s=limit_s),
        more=_MORE,
    )  # fmt: skip


def _check(path: Path, limit_s: float) -> Checked:
    with open_read_only(path, limit_s=limit_s) as connection, connection:
        damage = summary.quick_check(connection)
        if damage:
            raise CorruptDatabase(
                f"the restored copy is damaged: {damage[0]}",
                hint="restore an earlier point; see 'obelisk-ops replica points NAME'",
            )
        checks = {"txid": _OK, "quick_check": _OK}
        if not summary.is_workflow_database(connection):
            return Checked(checks=checks | {"logs": f"{_SKIPPED}: not a workflow database"})
        schema = summary.read_meta(connection)["schema_version"]
        if schema != summary.KNOWN_SCHEMA:
            why = f"{_SKIPPED}: schema version {schema} is newer than this program"
            return Checked(checks=checks | {"logs": why})
        broken = summary.broken_logs(connection)
        if broken:
            raise VerificationFailed(
                f"the restored copy has incomplete logs, of executions {broken}",
                hint="restore an earlier point; see 'obelisk-ops replica points NAME'",
            )
        found = summary.in_flight(connection)
    return Checked(checks=checks | {"schema": _OK, "logs": _OK}, in_flight=found)
