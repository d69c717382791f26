"""Whether a new file can be made: the same answer of every command that makes one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from obelisk_ops.errors import StorageUnavailable, TargetExists


def check_new(file: Path, *, instead: str = "choose another file") -> None:
    """
    Refuse a file that cannot be made where nothing is to be replaced, before any work.

    Args:
        file: Where it is to appear.
        instead: The hint where something is there.

    Raises:
        TargetExists: Something is there.
        StorageUnavailable: Its folder is missing, or may not be written.
    """
    if file.is_dir():
        raise is_folder(file)
    if os.path.lexists(file):
        raise TargetExists(f"{file} exists", hint=instead)
    check_folder(file)


def is_folder(file: Path) -> TargetExists:
    """Return the error that says that a folder is where a file is to be made."""
    return TargetExists(f"{file} is a folder", hint=f"name a file in it: {file}/…")


def check_folder(file: Path) -> None:
    """
    Refuse a file for which there is no folder that may be written.

    Raises:
        StorageUnavailable: Its folder is missing, or may not be written.
    """
    folder = file.parent
    if not os.path.lexists(folder):
        raise StorageUnavailable(
            f"{file} cannot be made: there is no folder {folder}",
            hint=f"make it first: mkdir -p {shlex.quote(str(folder))}",
        )
    if not folder.is_dir():
        raise StorageUnavailable(
            f"{file} cannot be made: {folder} is no folder", hint="choose another place"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageUnavailable(
            f"{file} cannot be made: {folder} may not be written",
            hint="check its owner and mode, or choose another place",
        )
