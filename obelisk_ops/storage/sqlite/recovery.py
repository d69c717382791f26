"""
After an owner was killed: let SQLite read its write-ahead log anew.

A commit is written to the log, synced, and then entered into the index that all
processes share (the -shm file). A process killed in between leaves a commit that is
complete in the log and missing in the index. Whoever opens the database alone rebuilds
the index and finds it, as after a power loss. But while Litestream holds the database
open, the index stays as it is: the next commit overwrites frames that Litestream has
shipped already, whereupon version 0.5.17 stalls for good ("read database page N: EOF")
or ships a mixture of old and new pages. Measured: the replica of one run in three was
stuck or wrong after ten kills of a busy writer.

So if there are frames that the index does not know, it is declared invalid, in the way
in which a crash would leave it, and SQLite rebuilds it from the log, there and then.

Litestream may be faster: it does a checkpoint once a second while the log is long, ships
the overlooked commit just before, and writes just after. Then the commit is lost here and
the replica is a mixture; measured: malformed in 3 of 3 kills with such a commit and a long
log. Nothing in the files tells the mixture from a sound replica for sure, but that
Litestream wrote last does tell that it may be one. The note ``suspect`` says so, and the
supervisor opens a new epoch.

Source: https://sqlite.org/walformat.html, "The WAL-Index File Format" and "Recovery".
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from obelisk_ops import process
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.sqlite import beside, overlooked

_TIMEOUT_S = 45.0


def find_overlooked_commit(database: Path, *, leaves_note: bool = True) -> bool:
    """
    Let the next connection see what a killed owner had written; call it before any opens.

    Args:
        database: The file.
        leaves_note: Whether it is noted if Litestream may have been faster. Who compares
            what was shipped knows better: Litestream may also have waited for a slow commit.

    Returns:
        Whether it was looked for; if not, opening the file says why.

    Raises:
        StorageUnavailable: Another process holds the write lock all the time.
    """
    if not all(database.with_name(database.name + end).exists() for end in ("-shm", "-wal")):
        return True
    suspect = beside.make_folder(database) / beside.SUSPECT if leaves_note else ""
    argv: list[str | Path] = [
        sys.executable, "-I", str(overlooked.__file__), database, suspect
    ]  # fmt: skip
    try:
        status = process.run(argv, env={}, timeout_s=_TIMEOUT_S).returncode
    except (OSError, subprocess.TimeoutExpired):
        status = overlooked.BUSY_STATUS
    # Whatever else is wrong with the file, opening it says better.
    if status == overlooked.BUSY_STATUS:
        raise StorageUnavailable(
            f"{database} is locked by another program", hint="see who with: fuser -v FILE"
        )
    return status == 0
