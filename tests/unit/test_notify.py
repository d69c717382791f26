"""What a service manager is told, over a real socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from obelisk_ops.settings import ServiceManager, for_command, service_manager
from obelisk_ops.supervise.notify import Notifier
from tests.manager import Manager


class StillClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def elapsed_ms(self) -> int:
        return self.at_ms


@pytest.fixture(params=["a path", "a name without a file"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path if request.param == "a path" else None) as listening:
        yield listening


@pytest.fixture
def notifier(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notifier]:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.given)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told = Notifier(service_manager(), StillClock())
    yield told
    told.close()


def test_what_it_says_from_start_to_stop(manager: Manager, notifier: Notifier) -> None:
    notifier.ready()
    notifier.reloading()
    notifier.stopping(12.5)

    ready, reloading, stopping = manager.listen()
    assert ready == {"READY": "1"}
    assert reloading.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert stopping == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "12500000"}


def test_a_line_of_status_is_one_line_and_is_said_once(
    manager: Manager, notifier: Notifier
) -> None:
    for _ in range(2):
        notifier.pulse("2 databases: 1 ok\nREADY=1", is_alive=False)
    notifier.pulse("x" * 9_000, is_alive=False)

    first, second = manager.listen()
    assert first == {"STATUS": "2 databases: 1 ok READY=1"}
    assert len(second["STATUS"]) == 500


def test_a_sign_of_life_is_given_each_time_and_only_with_life(
    manager: Manager, notifier: Notifier
) -> None:
    for is_alive in (True, True, False):
        notifier.pulse("", is_alive=is_alive)

    assert manager.listen() == [{"WATCHDOG": "1"}, {"WATCHDOG": "1"}]
    assert notifier.pause_s == 5


@pytest.mark.parametrize(
    ("watchdog_s", "ages_ms", "is_alive"),
    [
        pytest.param(60, [0, 30_000], True, id="all of it was done lately"),
        pytest.param(60, [0, 30_001], False, id="a part of it stands still"),
        pytest.param(60, [], True, id="there is nothing to do"),
        pytest.param(None, [999_999], True, id="nobody watches"),
    ],
)
def test_life_is_work_that_goes_on(
    watchdog_s: float | None, ages_ms: list[int], *, is_alive: bool
) -> None:
    clock = StillClock()
    notifier = Notifier(ServiceManager(address="/nowhere", watchdog_s=watchdog_s), clock)

    assert notifier.is_alive([clock.at_ms - age for age in ages_ms]) is is_alive


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, ServiceManager(address="/run/n")),
        ({"NOTIFY_SOCKET": "@n"}, ServiceManager(address="\0n")),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1500000"},
            ServiceManager(address="/run/n", watchdog_s=1.5),
        ),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"},
            ServiceManager(address="/run/n"),
        ),
        (
            {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "soon"},
            ServiceManager(address="/run/n"),
        ),
    ],
)
def test_who_wants_to_hear_is_read_from_the_environment(
    variables: dict[str, str], found: ServiceManager | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert service_manager() == found
    assert not variables.keys() & for_command().keys()


@pytest.mark.parametrize("address", ["/nowhere/at/all", "\0nobody listens here"])
def test_a_manager_that_is_not_there_holds_up_nobody(address: str) -> None:
    notifier = Notifier(ServiceManager(address=address), StillClock())

    notifier.ready()
    notifier.close()


def test_a_manager_that_does_not_read_holds_up_nobody(manager: Manager) -> None:
    notifier = Notifier(
        ServiceManager(address=manager.given.replace("@", "\0"), watchdog_s=1), StillClock()
    )

    for _ in range(1_000):
        notifier.pulse("", is_alive=True)

    assert 0 < len(manager.listen()) < 1_000
    notifier.close()
