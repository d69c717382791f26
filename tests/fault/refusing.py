"""
The supervisor on a disk that refuses some of what it writes; see test_refusing_disk.py.

    python refusing.py FLAG ARGUMENTS-OF-OBELISK-OPS…

Every fsync and rename of a file whose path holds a word of the file FLAG fails with EIO.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from obelisk_ops.cli import main


def refusing(real: Callable[..., Any], flag: Path) -> Callable[..., Any]:
    """Return a system call that fails for the files that are named at that moment."""

    def call(file: Any, *more: Any, **options: Any) -> Any:
        place = str(Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else file)
        if any(word in place for word in flag.read_text().split()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(file, *more, **options)

    return call


if __name__ == "__main__":
    chosen = Path(sys.argv.pop(1))
    os.fsync = refusing(os.fsync, chosen)
    os.rename = refusing(os.rename, chosen)
    main()
