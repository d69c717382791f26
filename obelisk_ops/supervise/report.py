"""``status`` as seen from outside: asks the supervisor, or says that there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec

from obelisk_ops.errors import Unproven
from obelisk_ops.settings import Settings, expand_databases
from obelisk_ops.supervise.control import ask
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.places import read_pointer
from obelisk_ops.supervise.sidecar import Sidecar
from obelisk_ops.supervise.status import NO_SUPERVISOR, Row, fleet_exit, stopped_row, with_drill


def report(settings: Settings) -> tuple[list[Row], int]:
    """
    Return every configured database, and the exit status that they call for.

    Raises:
        ConfigError: A database cannot be named.
        Unproven: A supervisor runs, and does not answer as it should.
    """
    rows = _from_supervisor(settings)
    if rows is None:
        drills = _drills(settings)
        rows = [
            with_drill(_from_disk(name, path), drills)
            for name, path in expand_databases(settings).items()
        ]
        # Nobody looks after what is configured, also if no file of it is there (yet).
        return rows, fleet_exit(rows) or Unproven.exit_status
    return rows, fleet_exit(rows)


def _from_supervisor(settings: Settings) -> list[Row] | None:
    pointer = read_pointer(settings.state_dir)
    if pointer is None:
        return None
    try:
        answer = ask(Path(pointer.socket), "status")
        return msgspec.convert(answer["databases"], type=list[Row])
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except (LookupError, TypeError, msgspec.ValidationError) as error:
        raise Unproven(
            f"the supervisor (pid {pointer.pid}) answers in another form: {error}",
            hint="it is of another version: restart it",
        ) from None


def _drills(settings: Settings) -> Drillbook | None:
    replica = settings.replica
    return Drillbook(settings.state_dir, replica.url) if replica else None


def _from_disk(name: str, path: Path) -> Row:
    owner = Sidecar(path).owner()
    return stopped_row(name, path, owner, detail=NO_SUPERVISOR)
