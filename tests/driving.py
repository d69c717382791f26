"""Workflow code driven by hand: answers go in, a log comes out. No engine, no disk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.events import KINDS, Body, Event
from obelisk_ops.core.ports import InboxItem
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.machine import Machine
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.flow.watch import Watch

Code = Callable[[], Awaitable[Any]]


class Recorder:
    """A host that only writes down."""

    def __init__(self, log: Sequence[Event] = ()) -> None:
        self.log = list(log)
        self.now = self.log[-1].at if self.log else 0

    def admit(self, n: int, pending: Pending) -> int:
        return 1

    def record(self, body: Body) -> None:
        self.append(body)

    def append(self, body: Body) -> None:
        version, kind = len(self.log), KINDS[type(body)]
        if kind not in events.COMMANDS:  # code takes no time
            self.now = 1000 * version
        self.log.append(Event(version, self.now, kind, events.encode(body)))


def machine_for(code: Code, host: Recorder, watch: Watch | None = None) -> Machine:
    function: Workflow[[], Any] = Workflow(code, "m.flow")
    created = events.Created(fn="m.flow", input=Raw(b"[]"))
    if not host.log:
        host.append(created)
    machine = Machine("e", function, created, at=0, host=host)
    machine.watch = watch
    return machine


def live(code: Code, *answers: Body) -> tuple[Machine, list[Event]]:
    """Run code as an engine does, and return its log."""
    host = Recorder()
    machine = machine_for(code, host)
    machine.start()
    for answer in answers:
        host.append(answer)
        at = host.log[-1].at
        match answer:
            case events.Returned():
                machine.returned(answer, at)
            case events.TimerFired():
                machine.timer_fired(answer.n, at)
            case events.ChildFinished():
                machine.child_finished(answer.n, '{"ok":7}', at)
            case _:
                raise AssertionError(answer)
    return machine, host.log


def replayed(code: Code, log: list[Event]) -> tuple[Machine, list[Event]]:
    """Replay code against a log; return the log as it is then."""
    host = Recorder(log)
    machine = machine_for(code, host)
    machine.replay(log[1:], {1: InboxItem("child", 1, 0, '{"ok":7}')})
    return machine, host.log


def ok(n: int, value: object = 0) -> events.Returned:
    return events.Returned(n=n, ok=Raw(msgspec.json.encode(value)))


def failed(n: int, kind: str = "ValueError", message: str = "no") -> events.Returned:
    return events.Returned(n=n, error=events.Failure(type=kind, message=message))


def outcome(machine: Machine) -> object:
    assert machine.finished is not None, "it still waits"
    if machine.finished.error:
        return machine.finished.error.type.rpartition(".")[2]
    return msgspec.json.decode(bytes(machine.finished.ok))  # type: ignore[arg-type]
