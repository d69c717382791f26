"""A lease goes on, whatever goes wrong beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.litestream import program
from obelisk_ops.settings import ReplicaSettings, Settings
from obelisk_ops.supervise import rights
from obelisk_ops.supervise.control import ControlServer
from obelisk_ops.supervise.rights import Rights
from obelisk_ops.supervise.rivals import Rivals
from obelisk_ops.supervise.supervisor import Supervisor
from tests.barriers import until
from tests.engines import looped
from tests.unit.test_lease import Silent, World

REPLICA = ReplicaSettings(
    bucket="b", prefix="p", endpoint="http://127.0.0.1:1", region="r", credentials="env"
)


class Heard(Silent):
    """A log that remembers what went wrong."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **fields: object) -> None:
        self.warnings.append(f"{event} {fields.get('error', '')}")


@looped
async def test_a_sweep_that_goes_wrong_is_told_and_the_lease_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Coroutine[Any, Any, None]:
        raise ValueError("a key that nobody wrote")

    monkeypatch.setattr(rights, "_SWEEP_S", 0.001)
    monkeypatch.setattr(Rivals, "sweep", broken)
    world, log = World(), Heard()
    held = Rights(world.clock, log, on_halt=world.halted.append)
    settings = Settings(replica=REPLICA, state_dir=tmp_path)
    lease = held.obtain(settings, world.bucket(), tmp_path / "lease")
    await until(lease.is_valid)
    await until(lambda: len(log.warnings) > 2)
    assert log.warnings[0] == "bug the sweep of old leases: ValueError: a key that nobody wrote"

    before = lease.deadline_ms
    world.clock.ms += settings_ttl_ms(settings) // 2
    lease.wake()
    await until(lambda: lease.deadline_ms > before)
    held.let_go()


def settings_ttl_ms(settings: Settings) -> int:
    return round(settings.lease_ttl_s * 1000)


@looped
async def test_a_supervisor_that_cannot_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_server: ControlServer) -> None:
        raise StorageUnavailable("no room for a socket")

    world = World()
    monkeypatch.setattr(ControlServer, "start", broken)
    monkeypatch.setattr(program, "find", lambda: tmp_path / "litestream")
    monkeypatch.setattr(program, "check_version", lambda *_: "0.5.17")
    settings = Settings(replica=REPLICA, state_dir=tmp_path)
    before = asyncio.all_tasks()
    made = Supervisor(
        settings, reload=lambda: settings, open_store=lambda _: world.objects,
        clock=world.clock, log=Silent(),
    )  # fmt: skip
    with pytest.raises(StorageUnavailable):
        await made.run(hears_signals=False)
    await until(lambda: asyncio.all_tasks() == before)
