"""Webhook and command: a real server, a real program, a real supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import yaml

from obelisk_ops.core.clock import SystemClock
from obelisk_ops.monitor import alerts as alerts_module
from obelisk_ops.monitor import channels
from obelisk_ops.monitor.alerts import Alerts
from obelisk_ops.monitor.channels import Command, Undelivered, Webhook
from obelisk_ops.monitor.damping import Patience
from obelisk_ops.settings import ReplicaSettings, origin
from obelisk_ops.supervise.companion import Facts
from obelisk_ops.supervise.status import Row
from tests.hooks import Hook
from tests.supervised import Supervised
from tests.support import PATIENCE_S, wait_until

pytestmark = pytest.mark.xdist_group("metrics")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


def program(folder: Path, body: str) -> str:
    """Write a program; *body* is Python."""
    file = folder / "tell-me"
    file.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
    file.chmod(stat.S_IRWXU)
    return str(file)


def configure(config: Path, **alerts: object) -> None:
    """Add alerts to a configuration."""
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(settings | {"alerts": alerts}))


# -- through a supervisor ----------------------------------------------------------------


def test_a_database_that_is_lost_is_told_once_and_once_that_it_is_back(
    tmp_path: Path, replica: ReplicaSettings, hook: Hook
) -> None:
    (tmp_path / "hook").touch(mode=0o600)
    (tmp_path / "hook").write_text(f"{hook.address}/T0/very-secret-path\n")
    heard = tmp_path / "heard"
    command = program(
        tmp_path,
        f"told = dict(json.load(sys.stdin), environment=sorted(os.environ))\n"
        f"print(json.dumps(told), file=open({str(heard)!r}, 'a'))",
    )
    with Supervised(tmp_path, replica) as supervised:
        configure(supervised.config, webhook="file:hook", command=[command], after="1s")
        supervised.database("b").write()
        database = supervised.database("a")
        database.write()
        supervised.start()
        for name in ("a", "b"):
            supervised.until_safe(name)

        database.close()
        for file in (tmp_path / "runs").glob("a.db*"):
            file.unlink()
        wait_until(lambda: hook.alerts, 10, "it is told")
        supervised.database("a").write()
        wait_until(lambda: len(hook.alerts) == 2, 20, "and that it is back")
        wait_until(lambda: len(heard.read_text().splitlines()) == 2, 5, "the command too")
        log = supervised.log_text()

    assert "very-secret-path" not in log
    lost, back = hook.alerts
    assert (lost["database"], lost["status"], lost["state"]) == ("a", "firing", "stopped")
    assert (lost["severity"], lost["reason"]) == ("warning", "database_not_found")
    assert (back["status"], back["state"], back["since"]) == ("resolved", "ok", lost["since"])
    path, headers, _ = hook.posted[0]
    assert (path, headers["Content-Type"]) == ("/T0/very-secret-path", "application/json")
    first, second = map(json.loads, heard.read_text().splitlines())
    assert [first["status"], second["status"]] == ["firing", "resolved"]
    assert first["alerts"] == [lost]
    assert not [name for name in first["environment"] if name.startswith("AWS")]


class View:
    """A supervisor of one database that is not well; counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def rows(self) -> Sequence[Row]:
        self.looks += 1
        return [Row(name="a", path="/a.db", state="fatal")]

    def facts(self) -> Facts:
        raise AssertionError


class Noted:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = []
        self.news = asyncio.Event()

    def info(self, event: str, **fields: object) -> object:
        self.lines.append((event, fields))
        self.news.set()
        return None

    warning = info


async def accompany(view: View, log: Noted, webhook: Webhook) -> None:
    """Run alerts until something is logged."""
    patience = Patience(after_ms=0, repeat_ms=3_600_000)
    alerts = Alerts(patience, [webhook], host="h", clock=SystemClock(), log=log)
    running = asyncio.ensure_future(alerts.run(view))
    async with asyncio.timeout(PATIENCE_S):
        await log.news.wait()
    running.cancel()


def test_an_address_that_is_silent_holds_up_nothing_and_is_given_up(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_TIMEOUT_S", 0.4)
    monkeypatch.setattr(alerts_module, "_TRIES_S", (0.0, 0.1))
    monkeypatch.setattr(alerts_module, "_LOOK_MIN_S", 0.02)
    view, log, hook.status = View(), Noted(), None

    asyncio.run(accompany(view, log, Webhook(lambda: f"{hook.address}/x")))

    assert view.looks > 3, "meanwhile"
    [(event, fields)] = log.lines
    assert event == "alert_failed"
    assert fields["error"] == f"{hook.address}/[redacted] does not answer in 0.4 s"
    wait_until(lambda: len(hook.posted) == 2, 10, "both tries have come, even if late")


def test_what_was_refused_is_tried_again(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts_module, "_TRIES_S", (0.0, 0.3))
    view, log, hook.status = View(), Noted(), 503

    def address() -> str:
        hook.status = 200 if hook.posted else 503
        return hook.address

    asyncio.run(accompany(view, log, Webhook(address)))

    assert log.lines == [("alert_sent", {"to": "webhook", "databases": ["a"]})]
    assert len(hook.posted) == 2
    assert hook.posted[0][2].startswith(b'{"version":1,"status":"firing"')


# -- channels ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 204])
def test_what_was_taken_is_taken(status: int, hook: Hook) -> None:
    hook.status = status

    asyncio.run(
        Webhook(lambda: f"{hook.address.replace('//', '//user:p%40ss@')}/a?b=c").send(b"{}")
    )

    path, headers, body = hook.posted[0]
    assert (path, body) == ("/a?b=c", b"{}")
    assert headers["Authorization"] == "Basic dXNlcjpwQHNz"
    assert headers["Host"] == hook.address.removeprefix("http://")


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500])
def test_what_was_not_taken_is_said_and_no_redirect_followed(status: int, hook: Hook) -> None:
    hook.status = status

    with pytest.raises(Undelivered, match=f"answers with status {status}") as caught:
        asyncio.run(Webhook(lambda: f"{hook.address}/secret-path").send(b"{}"))

    assert "secret-path" not in str(caught.value)
    assert len(hook.posted) == 1


def test_an_address_that_is_no_server_is_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/secret-path"

        with pytest.raises(Undelivered) as caught:
            asyncio.run(Webhook(lambda: address).send(b"{}"))

    assert str(caught.value).startswith(origin(address))
    assert "secret-path" not in str(caught.value)


def test_a_command_that_fails_is_said_with_its_last_words(tmp_path: Path) -> None:
    command = program(tmp_path, "print('no pager today'); sys.exit(3)")

    with pytest.raises(Undelivered, match="ended with status 3: no pager today"):
        asyncio.run(Command([command]).send(b"{}"))
    with pytest.raises(Undelivered, match="cannot be started: No such file"):
        asyncio.run(Command([f"{tmp_path}/nowhere"]).send(b"{}"))


def test_a_command_that_hangs_is_ended_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    command = program(
        tmp_path,
        "child = os.fork()\n"
        f"if child: open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\n"
        "time.sleep(60)",
    )

    for limit_s in (0.5, 5.0, 30.0):  # a busy machine may not have begun it by then
        monkeypatch.setattr(channels, "_TIMEOUT_S", limit_s)
        with pytest.raises(Undelivered, match="took too long"):
            asyncio.run(Command([command]).send(b"{}"))
        if pids.exists() and pids.read_text():
            break

    found = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(_runs(pid) for pid in found), 5, "both are gone")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_command_takes_a_message_larger_than_any_pipe(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = program(tmp_path, f"open({str(out)!r}, 'w').write(str(len(sys.stdin.read())))")

    asyncio.run(Command([command, "-q"]).send(b"x" * 1_000_000))

    assert out.read_text() == "1000000"
    assert os.environ.get("AWS_SECRET_ACCESS_KEY") is None
