"""How a page comes into its place: whole, and not over another file."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from obelisk_ops.errors import StorageUnavailable, TargetExists
from obelisk_ops.storage.targets import check_folder, check_new, is_folder

_MODE = 0o600
_INSTEAD = "choose another file, or write over it with --force"


def check(target: Path, *, over: bool) -> None:
    """
    Refuse early what ``publish`` would refuse after all the work.

    Raises:
        TargetExists: Something is there, and is not to be replaced.
        StorageUnavailable: Nothing can be written there.
    """
    if not over:
        check_new(target, instead=_INSTEAD)
    if target.is_dir():
        raise is_folder(target)
    check_folder(target)


def publish(text: str, target: Path, *, over: bool) -> int:
    """
    Write a file, which is there whole or not at all; readable by its owner only.

    Args:
        text: What it holds.
        target: Where it appears.
        over: Whether it may take the place of another file.

    Returns:
        How many bytes it has.

    Raises:
        TargetExists: Something is there, and is not to be replaced.
        StorageUnavailable: It cannot be written.
    """
    content = text.encode(errors="backslashreplace")
    try:
        with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            made = Path(folder) / target.name
            with made.open("xb") as file:
                os.fchmod(file.fileno(), _MODE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if over:
                made.replace(target)
            else:
                target.hardlink_to(made)  # unlike a rename it never replaces anything
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        raise StorageUnavailable(f"{target} cannot be written: {error.strerror}") from error
    return len(content)


def _taken(target: Path) -> TargetExists:
    return TargetExists(f"{target} exists", hint=_INSTEAD)
