"""
Runs a command of the program, and dies by SIGKILL before its nth effect.

    python -m tests.fault.dying N ARGUMENTS…

An effect is a write to the bucket, or a file that appears under its name. Renewals of a lease
are none: how many there are depends on how busy the machine is.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from obelisk_ops.cli.root import main
from obelisk_ops.objectstore.s3 import S3Store
from obelisk_ops.replica.layout import HOSTS_FOLDER

left = int(sys.argv[1])


def counted(effect: Callable[..., Any]) -> Callable[..., Any]:
    def instead(*args: Any, **more: Any) -> Any:
        global left  # noqa: PLW0603 - the one thing that this program is about
        left -= not is_renewal(args, more)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return effect(*args, **more)

    return instead


def is_renewal(args: tuple[Any, ...], more: dict[str, Any]) -> bool:
    return more.get("if_match") is not None and f"/{HOSTS_FOLDER}/" in args[1]


for place, name in ((S3Store, "put"), (S3Store, "delete"), (os, "link"), (Path, "rename")):
    setattr(place, name, counted(getattr(place, name)))
sys.argv[1:] = sys.argv[2:]
main()  # no more arguments than those
