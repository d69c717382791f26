"""A service manager hears from start to stop how the supervisor is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.storage.sqlite import beside
from tests.manager import Manager
from tests.supervised import Supervised
from tests.support import wait_until

#: The watchdog's time; a supervisor that lives gives three signs in it.
PATIENCE_S = 1.5

pytestmark = pytest.mark.xdist_group("supervise-notify")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with Manager(tmp_path) as listening:
        monkeypatch.setenv("NOTIFY_SOCKET", listening.given)
        monkeypatch.setenv("WATCHDOG_USEC", str(round(PATIENCE_S * 1_000_000)))
        yield listening


def test_from_start_to_stop(tmp_path: Path, replica: ReplicaSettings, manager: Manager) -> None:
    with Supervised(tmp_path, replica) as supervised:
        supervised.database("a").write()
        supervised.start()
        manager.until(lambda said: said.get("STATUS") == "1 database: 1 ok", "it is well")
        ready = manager.index("READY")
        manager.index("WATCHDOG", after=ready)

        supervised.tell(signal.SIGHUP)
        manager.until(lambda said: "RELOADING" in said, "it reads its configuration again")
        reloading = manager.index("RELOADING")
        manager.until(lambda _: "READY" in str(manager.heard[reloading:]), "again ready")
        assert manager.index("READY", after=reloading) > reloading

        status, _ = supervised.stop()
        assert status == 0
        last = manager.listen()[manager.index("STOPPING")]
        # All of stop_timeout, and what ends after it.
        assert 25_000_000 < int(last["EXTEND_TIMEOUT_USEC"]) <= 30_000_000


def test_no_sign_of_life_comes_while_one_database_holds_up_the_work(
    tmp_path: Path, replica: ReplicaSettings, manager: Manager
) -> None:
    with Supervised(tmp_path, replica) as supervised:
        supervised.start()
        manager.until(lambda said: "WATCHDOG" in said, "it lives")

        # A note that can be opened and never read to its end: a disk that hangs looks like it.
        (tmp_path / "runs").mkdir()
        note = beside.make_folder(tmp_path / "runs" / "a.db") / "suspect"
        os.mkfifo(note)
        (tmp_path / "runs" / "a.db").touch()
        wait_until(lambda: manager.silent_s > PATIENCE_S, 10, "no sign of life")

        # Gone before whoever waits is let go: it would look at once again, and hang for good.
        end = os.open(note, os.O_RDWR)
        note.unlink()
        os.close(end)
        manager.heard.clear()
        manager.until(lambda said: "WATCHDOG" in said, "it lives again")
