"""Drills that a supervisor does by itself, beside its work."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from obelisk_ops.settings import ReplicaSettings
from tests.supervised import Supervised
from tests.support import wait_until

#: 15 less than what runs the tests, which may be nice itself; 19 is the end.
GENTLE = min(os.nice(0) + 15, 19)


def niceness_of_drill(supervisor: int) -> int | None:
    for child in psutil.Process(supervisor).children():
        try:
            if "drill" in child.cmdline():
                return int(child.nice())
        except psutil.Error:  # it has ended since
            continue
    return None


def test_a_supervisor_drills_beside_its_work(tmp_path: Path, replica: ReplicaSettings) -> None:
    with Supervised(tmp_path, replica, drill={"every": "2s"}) as supervised:
        database = supervised.database("a")
        database.write(3)
        supervised.start()
        wait_until(lambda: niceness_of_drill(supervised.pid) == GENTLE, 30, "a gentle drill")
        database.write(1)

        row = supervised.until("a", lambda row: row.last_drill, 30, "a drill")

        assert row.last_drill is not None
        assert row.last_drill["outcome"] == "ok"
        assert row.last_drill["points"]
        assert supervised.until_safe("a").notices == ()
        assert supervised.logged("drill_begins")
        wait_until(lambda: supervised.logged("drill_ok"), 10, "it is said")
