"""
End what an earlier supervisor of this state folder has left running.

On Linux the kernel ends the Litestream processes with their supervisor. Elsewhere they
outlive one that was killed; a second one beside them would ship one file twice. Whoever
holds the lock of the state folder ends them before it starts its own. They are known by
what nobody else is started with: a configuration in this very folder. No note of process
ids is kept: it could miss one, and after a restart of the machine name a stranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_END_S = 5.0


def end_orphans(configs: Path) -> list[int]:
    """
    Kill every Litestream that runs with a configuration in *configs*; return their ids.

    It loses nothing: what they had not shipped lies on this disk, and is shipped by the next.
    """
    orphans = list(_orphans(configs))
    for orphan in orphans:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    psutil.wait_procs(orphans, timeout=_END_S)
    return [orphan.pid for orphan in orphans]


def _orphans(configs: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        # What belongs to somebody else does not tell; what has ended is no orphan.
        with suppress(psutil.Error):
            if _is_ours(process.cmdline(), configs):
                yield process


def _is_ours(argv: Sequence[str], configs: Path) -> bool:
    # As written by litestream.program.replicate_argv.
    match argv:
        case [_, "replicate", "-config", config, *_]:
            return Path(config).parent == configs
        case _:
            return False
