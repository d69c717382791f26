"""Clocks, chance, threads and network in workflow code are one named error each."""

from __future__ import annotations

import logging
import pathlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import structlog

from obelisk_ops import activity, sleep
from obelisk_ops.durable.flow.machine import Machine, report
from obelisk_ops.durable.flow.watch import Glance, Watch, Watches, is_wanted
from tests.driving import Recorder, live, machine_for, ok, outcome


@activity
def act(value: int = 0) -> int:
    return value


#: the head of a module of workflows
HEAD = """
import concurrent.futures, datetime as dt, logging, msgspec, os, pathlib, secrets, socket
import random as chance, sqlite3, subprocess, threading, time, time as clock, uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from time import monotonic, time as what_time_is_it
from obelisk_ops import now, random, uuid4

POOL = concurrent.futures.ThreadPoolExecutor(1)

@dataclass
class Stamped:
    at: float = field(default_factory=time.time)
"""


def function(body: str) -> Any:
    """Return a function of the author's, in a module of its own."""
    return module("shop", f"{HEAD}\ndef use():\n    return {body}\n", "shop.py").use


def module(name: str, text: str, file: str) -> ModuleType:
    made = ModuleType(name)
    sys.modules[name] = made  # dataclasses look there
    exec(compile(text, file, "exec"), vars(made))  # noqa: S102 - it is the test's own
    return made


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    yield
    for name in ("shop", "requests", "imported_late"):
        sys.modules.pop(name, None)


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    one, other = socket.socketpair()
    with one, other:
        yield one


def watched(use: Any, *answers: Any) -> Machine:
    """Drive a workflow that calls *use*, with the watch on."""

    async def code() -> Any:
        await act(1)
        found = use()
        return await found if hasattr(found, "__await__") else repr(found)

    machine = machine_for(code, Recorder(), Watch(report))
    machine.start()
    for answer in (ok(1), *answers):
        machine.returned(answer, 1)
    return machine


def told(machine: Machine) -> str:
    assert machine.finished is not None, "it still waits"
    assert machine.finished.error, machine.finished
    assert machine.finished.error.type == "obelisk_ops.errors.WorkflowMisuse"
    return machine.finished.error.message


USES = [
    ("time.time()", "time.time()", "use now()"),
    ("what_time_is_it()", "time.time()", "use now()"),
    ("clock.time_ns()", "time.time_ns()", "use now()"),
    ("monotonic()", "time.monotonic()", "use now()"),
    ("time.perf_counter()", "time.perf_counter()", "use now()"),
    ("datetime.now()", "datetime.datetime.now()", "use now()"),
    ("datetime.now(dt.UTC)", "datetime.datetime.now()", "use now()"),
    ("dt.datetime.today()", "datetime.datetime.today()", "use now()"),
    ("date.today()", "datetime.date.today()", "use now()"),
    ("Stamped()", "time.time()", "use now()"),
    ("time.sleep(0)", "time.sleep()", "use sleep()"),
    ("chance.random()", "random.random()", "use random()"),
    ("chance.randint(1, 6)", "random.randint()", "use random()"),
    ('chance.choice("abc")', "random.choice()", "use random()"),
    ("chance.shuffle([1, 2])", "random.shuffle()", "use random()"),
    ("chance.uniform(0, 1)", "random.uniform()", "use random()"),
    ("chance.Random()", "random.Random() without a seed", "use random()"),
    ("chance.SystemRandom().random()", "random.Random() without", "use random()"),
    ("os.urandom(4)", "os.urandom()", "use random()"),
    ("secrets.token_hex()", "secrets.token_hex()", "use random()"),
    ('secrets.choice("abc")', "random.choice()", "use random()"),
    ("secrets.randbits(4)", "random.getrandbits()", "use random()"),
    ("uuid.uuid1()", "uuid.uuid1()", "use uuid4()"),
    ("uuid.uuid4()", "uuid.uuid4()", "use uuid4()"),
    ("threading.Thread(target=int).start()", "threading.Thread.start()", "activity"),
    ("threading.Timer(9, int).start()", "threading.Thread.start()", "activity"),
    ("threading.Event().wait(0)", "threading.Event.wait()", "activity"),
    ("POOL.submit(int)", "ThreadPoolExecutor.submit()", "activity"),
    ('list(POOL.map(int, "12"))', "ThreadPoolExecutor.submit()", "activity"),
    ("socket.socket()", "socket.socket()", "activity"),
    ('socket.create_connection(("localhost", 1))', "create_connection()", "activity"),
    ('socket.getaddrinfo("localhost", 1)', "socket.getaddrinfo()", "activity"),
    ('subprocess.run(["true"], check=True)', "subprocess.Popen()", "activity"),
    ('os.system("true")', "os.system()", "activity"),
    ("open(os.devnull)", "open()", "activity"),
    ("pathlib.Path(os.devnull).read_text()", "pathlib.Path.read_text()", "activity"),
    ("pathlib.Path(os.devnull).exists()", "pathlib.Path.exists()", "activity"),
    ('os.listdir(".")', "os.listdir()", "activity"),
    ('sqlite3.connect(":memory:")', "sqlite3.connect()", "activity"),
    ("sorted([1, 2], key=lambda _: time.time())", "time.time()", "use now()"),
]


@pytest.mark.behaviour("P19")
@pytest.mark.parametrize(("use", "name", "instead"), USES)
def test_it_is_named_with_what_to_do_instead(use: str, name: str, instead: str) -> None:
    message = told(watched(function(use)))

    assert name in message
    assert "cannot be used in a workflow (shop.py, line " in message
    assert message.endswith(instead)


@pytest.mark.parametrize(("use", "name", "instead"), USES[::4])
def test_it_fails_the_execution_when_the_code_swallows_it(
    use: str, name: str, instead: str
) -> None:
    async def swallows() -> int:
        with suppress(Exception):
            function(use)()
        return await act(2)

    message = told(watched(swallows, ok(2)))

    assert name in message
    assert message.endswith(instead)


def test_a_loop_that_tries_again_has_an_end() -> None:
    async def tries() -> None:
        while True:
            try:
                await act(uuid.uuid4().int)
            except Exception:  # noqa: BLE001, S112 - what it must survive
                continue

    machine = watched(tries)
    for n in range(2, 9):
        if machine.finished is None:
            machine.returned(ok(n), n)

    assert "uuid.uuid4()" in told(machine)


def test_a_connection_that_was_open_before_is_seen(connection: socket.socket) -> None:
    assert "socket.send()" in told(watched(lambda: connection.send(b"x")))


def library(text: str) -> ModuleType:
    return module("requests", text, "/usr/lib/python3/site-packages/requests.py")


def test_a_library_may_read_the_clock_for_itself() -> None:
    reads = library("import time, uuid\ndef f(): return time.time(), uuid.uuid4()").f

    assert outcome(watched(reads))


def test_a_library_that_connects_or_sleeps_does_so_for_its_caller() -> None:
    other = library("import time, socket\ndef f(): socket.socket()\ndef g(): time.sleep(0)")

    connects, sleeps = told(watched(other.f)), told(watched(other.g))

    assert connects.startswith("socket.socket() cannot be used in a workflow (test_watch.py")
    assert sleeps.startswith("time.sleep() cannot be used in a workflow (test_watch.py")


HARMLESS = [
    'logging.getLogger("tests.watch").debug("no")',
    'logging.LogRecord("n", 10, "p", 1, "m", (), None)',
    'msgspec.json.encode({"at": datetime(2026, 1, 1, tzinfo=dt.UTC)})',
    "datetime.fromtimestamp(0, tz=dt.UTC).isoformat()",
    "chance.Random(7).random()",
    "chance.Random(7).randint(1, 6)",
    "random().randint(1, 6) + random().random()",
    "random().sample(range(9), 3)",
    "uuid4()",
    "uuid.UUID(int=5)",
    'uuid.uuid5(uuid.NAMESPACE_DNS, "x")',
    "now()",
    'time.strftime("%Y", time.gmtime(0))',
    "dt.timedelta(days=1)",
    'pathlib.PurePath("a") / "b"',
    'os.path.join("a", "b")',
    "threading.Lock().acquire()",
    "exec('import shop')",
]


@pytest.mark.parametrize("use", HARMLESS)
def test_what_is_the_same_on_replay_is_allowed(use: str) -> None:
    machine = watched(function(use))

    assert machine.finished is not None
    assert not machine.finished.error, machine.finished.error


def test_a_module_may_be_imported(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    """Whatever it does while it is: that is not the workflow's doing."""
    file = tmp_path / "imported_late.py"
    file.write_text("import time, os, threading\nAT = time.time()\nopen(os.devnull).close()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def imports() -> object:
        import imported_late  # type: ignore[import-not-found]  # noqa: PLC0415

        return imported_late.AT > 0

    assert outcome(watched(imports)) == "True"


@pytest.mark.parametrize("by", ["logging", "structlog"])
def test_what_writes_log_lines_may_read_the_clock(by: str) -> None:
    """Also a filter or a processor of the author's, which they call."""
    own = function("time.time()")
    logs = module(by, "def log(processor): return processor()", f"/lib/site-packages/{by}.py")
    sys.modules[by] = logging if by == "logging" else structlog

    assert outcome(watched(lambda: logs.log(own)))


def test_a_durable_sleep_is_allowed() -> None:
    async def code() -> int:
        await sleep(5)
        return 1

    machine = watched(code)
    machine.timer_fired(2, 6000)

    assert outcome(machine) == 1


def test_without_a_watch_nothing_is_seen() -> None:
    async def code() -> bool:
        return time.time() > 0

    assert outcome(live(code)[0]) is True


def test_what_profiled_before_goes_on() -> None:
    seen: list[str] = []

    def profile(_frame: object, event: str, arg: Any) -> None:
        seen.append(f"{event} {getattr(arg, '__name__', '')}")

    sys.setprofile(profile)
    try:
        machine = watched(function("time.time()"))
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)

    assert "time.time()" in told(machine)
    assert "c_call time" in seen


def test_nothing_profiles_when_the_code_waits() -> None:
    async def waits() -> None:
        await act()

    machine = machine_for(waits, Recorder(), Watch(report))
    machine.start()

    assert sys.getprofile() is None


def test_a_profiler_that_cannot_be_called_is_left_alone(monkeypatch: Any) -> None:
    """What cProfile leaves there before Python 3.12."""
    put: list[object] = []
    monkeypatch.setattr(sys, "getprofile", object)
    monkeypatch.setattr(sys, "setprofile", put.append)

    assert watched(function("time.time()")).finished
    assert put == []


@pytest.mark.parametrize(("strict", "wanted"), [(True, True), (False, False), (None, True)])
def test_tests_are_watched_unless_told_otherwise(strict: bool | None, wanted: bool) -> None:  # noqa: FBT001
    assert is_wanted(strict) is wanted


class Seen:
    """Counts what it is shown."""

    def __init__(self) -> None:
        self.turns = 0

    def run(self, call: Callable[[], None], module: str) -> None:
        self.turns += 1
        call()


def test_a_glance_sees_the_first_turns_alone() -> None:
    seen, done = Seen(), list[int]()
    glance = Glance(seen, turns=2)

    for n in range(5):
        glance.run(partial(done.append, n), "m")

    assert (seen.turns, done) == (2, [0, 1, 2, 3, 4])


def test_of_each_workflow_the_first_that_begin_are_watched() -> None:
    watches = Watches(Seen(), is_throughout=False)

    assert watches.of("f", is_new=False) is None, "what is replayed has gone on before"
    assert sum(watches.of("f", is_new=True) is not None for _ in range(50)) == 10
    assert watches.of("g", is_new=True) is not None


def test_throughout_is_whoever_it_is() -> None:
    watches = Watches(seen := Seen(), is_throughout=True)

    assert all(watches.of("f", is_new=n % 2 == 0) is seen for n in range(50))


@pytest.mark.parametrize(("options", "wanted"), [([], "False"), (["-X", "dev"], "True")])
def test_a_plain_program_is_watched_in_development_mode(
    options: list[str], wanted: str
) -> None:
    code = "from obelisk_ops.durable.flow.watch import is_wanted; print(is_wanted(None))"
    command = [sys.executable, *options, "-W", "ignore", "-c", code]

    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.strip() == wanted


def test_a_log_with_a_violation_is_told_so_on_replay() -> None:
    """It was recorded without a watch, and is replayed with one."""

    async def code() -> None:
        await act(int(time.time() > 0))

    log = live(code)[1]
    machine = machine_for(code, Recorder(log), Watch(report))

    with pytest.raises(Exception, match=r"the end of the workflow by .*time\.time\(\)"):
        machine.replay(log[1:], {})
