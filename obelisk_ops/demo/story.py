"""
A sweep, its backup, two disasters and a post-mortem.

Two databases with three sweeps each are supervised and replicated. The workers are
killed, then the disk is lost; the copies restored from the bucket go on to the end. An
independent file tells what really ran.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops.core.clock import SystemClock, iso
from obelisk_ops.core.ports import ExecutionFilter
from obelisk_ops.core.values import to_json
from obelisk_ops.demo import ledger
from obelisk_ops.demo.claims import Claims
from obelisk_ops.demo.ledger import Ledger
from obelisk_ops.demo.terminal import ASK_AGAIN_S, Terminal, until
from obelisk_ops.storage import open_reader
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit

TARGET = "obelisk_ops.demo.sweep"
_COOLING_S = 12.0
_FEW = 5

#: database → execution → (family, sizes); every execution has its own seed
PLAN: dict[str, dict[str, tuple[str, list[int]]]] = {
    "trees": {
        "forest-small": ("forest", [5, 10, 15, 20, 25]),
        "forest-large": ("forest", [30, 40, 50, 60, 80]),
        "neighbours": ("neighbours", [1, 3, 5, 7, 9]),
    },
    "lines": {
        "weak": ("regression", [1, 2, 3, 5, 8]),
        "medium": ("regression", [10, 15, 20, 30, 50]),
        "strong": ("regression", [80, 100, 150, 200, 300]),
    },
}

Events = Mapping[str, list[dict[str, Any]]]


@dataclass(slots=True)
class Story:
    """Where things lie, and what was seen so far."""

    terminal: Terminal
    claims: Claims
    home: Path
    expected: dict[str, Any] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    shipped_at_ms: int = 0
    epochs: dict[str, int] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The folder that will be lost: databases and the supervisor's own files."""
        return self.home / "data"

    @property
    def ledger(self) -> Path:
        """The independent file."""
        return self.home / "ledger.jsonl"

    def database(self, name: str) -> Path:
        """Return the path of one database."""
        return self.data / "runs" / f"{name}.db"


def tell(story: Story) -> None:
    """Run all of it; raise at the first claim that does not hold."""
    claims = story.claims
    with claims.step("an undisturbed run, to compare with"):
        run_undisturbed(story)
    with claims.step("the same sweeps, supervised and replicated to S3"):
        supervisor = begin(story)
    with claims.step("disaster: kill -9 of the workers in the middle of their work"):
        kill_workers(story)
    with claims.step("the workers come back, and are stopped while the models cool"):
        resume_until_cooling(story)
    with claims.step("nothing is unsent; the supervisor stops"):
        stop_supervisor(story, supervisor)
    with claims.step("disaster: the disk is gone"):
        lose_the_disk(story)
    with claims.step("post-mortem: as the crash left it, from the bucket alone"):
        look_back(story)
    with claims.step("restore from the bucket"):
        restore(story)
    with claims.step("the copies go on, in a new epoch"):
        go_on(story)
    with claims.step("what really ran, by the independent file"):
        compare(story)


def run_undisturbed(story: Story) -> None:
    """Run every sweep without any disaster and keep the results."""
    aside = story.home / "undisturbed"
    (aside / "runs").mkdir(parents=True)
    databases = {name: aside / "runs" / f"{name}.db" for name in PLAN}
    _submit_all(story, databases, aside / "ledger.jsonl", cooling_s=0.1)
    workers = _start_workers(story, databases, "undisturbed")
    story.expected = _wait_for_results(databases)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        worker.wait(60)
    count = sum(len(sweeps) for sweeps in PLAN.values())
    best = max(r["accuracy"] for r in story.expected.values())
    story.claims.say(f"{count} sweeps, best accuracy {best:.3f}")


def begin(story: Story) -> Any:  # noqa: ANN401 - a process
    """Start the supervisor, the sweeps and the workers."""
    (story.data / "runs").mkdir(parents=True)
    supervisor = story.terminal.start("supervisor", "supervise")
    until(lambda: _is_supervised(story), "the supervisor answers", every_s=ASK_AGAIN_S)
    databases = {name: story.database(name) for name in PLAN}
    # Before anybody works: six commands may take longer than the first sweeps do.
    _submit_all(story, databases, story.ledger, cooling_s=_COOLING_S)
    story.claims.check(
        "new databases are picked up and replicated",
        until(lambda: _are_replicated(story), "both are in the bucket", every_s=ASK_AGAIN_S),
        f"{len(PLAN)} databases",
    )
    _start_workers(story, databases, "first")
    return supervisor


def kill_workers(story: Story) -> None:
    """Kill -9 when results were acknowledged and work is under way."""

    def is_the_moment() -> bool:
        seen = ledger.read(story.ledger)
        return sum(seen.ended.values()) >= _FEW and bool(seen.open_calls)

    until(is_the_moment, "work is under way")
    workers = [p for p in story.terminal.running("first") if p.poll() is None]
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait(60)
    databases = {name: story.database(name) for name in PLAN}
    # As the next owner does. A commit that the kill cut short is on disk and not yet seen by
    # any reader; half a second later the supervisor would have found it.
    for path in databases.values():
        find_overlooked_commit(path)
    logs = _logs(databases)
    story.acknowledged = ledger.acknowledged(logs)
    story.in_flight = ledger.intended(logs) - story.acknowledged
    story.claims.check(
        "the kill hit work in flight",
        story.in_flight,
        f"{len(story.acknowledged)} acknowledged, {len(story.in_flight)} in flight",
    )
    story.begun = set[str]().union(
        *(_in_flight(story, str(path)) for path in databases.values())
    )
    # What was begun in the last second before the kill is shipped after it.
    until(lambda: _is_shipped(story), "the bucket tells of it", every_s=ASK_AGAIN_S)
    story.shipped_at_ms = SystemClock().now_ms()


def resume_until_cooling(story: Story) -> None:
    """Start the workers again; stop them while durable sleeps are pending."""
    databases = {name: story.database(name) for name in PLAN}
    workers = _start_workers(story, databases, "second")
    until(lambda: _is_cooling(databases), "the models cool")
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    codes = [worker.wait(60) for worker in workers]
    story.claims.check("SIGTERM drains the workers", codes == [0] * len(codes), "exit 0")


def stop_supervisor(story: Story, supervisor: Any) -> None:  # noqa: ANN401 - a process
    """Wait until everything is proven to be in the bucket, then stop."""

    def all_sent() -> list[dict[str, Any]]:
        seen = _status(story)
        proven = [d for d in seen if d["state"] == "ok" and d["unsent_transactions"] == 0]
        return proven if len(proven) == len(PLAN) else []

    proven = until(all_sent, "nothing is unsent", every_s=ASK_AGAIN_S)
    story.claims.say(story.terminal.show("status"))
    story.claims.check(
        "nothing is unsent, by our own listing of the bucket",
        all(d["local_txid"] == d["replica_txid"] for d in proven),
        ", ".join(f"{d['name']} TXID {d['replica_txid']}" for d in proven),
    )
    story.epochs = {d["name"]: d["epoch"] for d in proven}
    supervisor.send_signal(signal.SIGTERM)
    story.claims.check("the supervisor stops clean", supervisor.wait(60) == 0, "exit 0")


def lose_the_disk(story: Story) -> None:
    """Delete the whole data folder."""
    shutil.rmtree(story.data)
    story.claims.check("the data folder is gone", not story.data.exists(), "rm -rf data")


def look_back(story: Story) -> None:
    """Inspect the state that the kill left behind, straight from the bucket."""
    when = iso(story.shipped_at_ms)
    by_name = {name: _in_flight(story, f"{name}@{when}") for name in PLAN}
    busiest = max(by_name, key=lambda name: len(by_name[name]))
    story.claims.say(story.terminal.show("inspect", f"{busiest}@{when}"))
    seen = set().union(*by_name.values())
    story.claims.check(
        "inspect shows what was in flight at the crash",
        seen == story.begun and seen <= story.in_flight,
        f"at {when}: {len(seen)} in flight",
    )


def restore(story: Story) -> None:
    """Restore every database to its place."""
    (story.data / "runs").mkdir(parents=True)
    for name in PLAN:
        told = story.terminal.ask("restore", name, "--to", str(story.database(name)))
        story.claims.check(
            f"{name} is restored, complete and checked",
            story.database(name).exists(),
            f"TXID {told['obtained']['txid']}, {told['bytes']:,} bytes",
        )
    again = story.terminal.ask(
        "restore", name, "--to", str(story.database(name)), ends_with=(8,)
    )
    story.claims.check("a second restore refuses to overwrite", again is None, "exit 8")


def go_on(story: Story) -> None:
    """Supervise the copies and let the sweeps come to their end."""
    supervisor = story.terminal.start("supervisor", "supervise")
    databases = {name: story.database(name) for name in PLAN}
    workers = _start_workers(story, databases, "third")
    results = _wait_for_results(databases)

    def all_safe() -> dict[str, int]:
        safe = {d["name"]: d["epoch"] for d in _status(story) if d["state"] == "ok"}
        return safe if safe.keys() == PLAN.keys() else {}

    epochs = until(all_safe, "the copies are replicated", every_s=ASK_AGAIN_S)
    story.claims.check(
        "the copies write to an epoch of their own",
        epochs == {name: epoch + 1 for name, epoch in story.epochs.items()},
        ", ".join(f"{name} e{epoch:04d}" for name, epoch in epochs.items()),
    )
    story.claims.check(
        "every result equals the undisturbed run's",
        results == story.expected,
        f"{len(results)} sweeps",
    )
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    supervisor.send_signal(signal.SIGTERM)
    story.claims.check("the final sync left nothing unsent", supervisor.wait(60) == 0, "exit 0")


def compare(story: Story) -> None:
    """Hold the independent file against the logs."""
    ran: Ledger = ledger.read(story.ledger)
    logs = _logs({name: story.database(name) for name in PLAN})
    wanted = ledger.intended(logs)
    story.claims.check(
        "no activity is missing, none ran unasked",
        set(ran.began) == wanted,
        f"{len(wanted)} calls",
    )
    twice = {call for call in ran.began if ran.runs(call) > 1}
    story.claims.check(
        "every acknowledged activity ran exactly once",
        all(ran.runs(call) == 1 for call in story.acknowledged),
        f"{len(story.acknowledged)} acknowledged at the kill",
    )
    story.claims.check(
        "only what was in flight at the kill ran twice",
        twice <= story.in_flight and all(ran.runs(call) == 2 for call in twice),  # noqa: PLR2004
        f"{len(twice)} of {len(story.in_flight)} in flight",
    )
    # By the engine, because it failed; or because the kill cut its first attempt short, perhaps
    # before that wrote a line.
    flaky = ledger.intended(logs, function=".register")
    retried = flaky & ran.retried
    story.claims.check(
        "the flaky activity was retried in every sweep",
        retried == flaky and len(flaky) == sum(len(sweeps) for sweeps in PLAN.values()),
        f"{len(retried)} retried",
    )


def _start_workers(story: Story, databases: Mapping[str, Path], group: str) -> list[Any]:
    return [
        story.terminal.start(f"worker-{group}-{name}", "worker", TARGET, "--db", str(path))
        for name, path in databases.items()
    ]


def _submit_all(
    story: Story, databases: Mapping[str, Path], book: Path, *, cooling_s: float
) -> None:
    for seed, (name, sweeps) in enumerate(PLAN.items()):
        for execution, (family, sizes) in sweeps.items():
            trials = [{"family": family, "size": size, "seed": seed} for size in sizes]
            story.terminal.ask(
                "execution", "submit", f"{TARGET}:sweep", to_json(trials).decode(),
                to_json(str(book)).decode(), str(cooling_s),
                "--db", str(databases[name]), "--id", execution,
            )  # fmt: skip


def _wait_for_results(databases: Mapping[str, Path]) -> dict[str, Any]:
    until(lambda: _are_all(databases, "finished"), "every sweep is finished")
    return {execution: events[-1].get("ok") for execution, events in _logs(databases).items()}


def _is_supervised(story: Story) -> bool:
    # No file is there yet: with a supervisor that is 0, and without one 4.
    return story.terminal.succeeds("status")


def _are_replicated(story: Story) -> bool:
    return sum(bool(d["replica_txid"]) for d in _status(story)) == len(PLAN)


def _is_shipped(story: Story) -> bool:
    return story.begun == set[str]().union(*(_in_flight(story, name) for name in PLAN))


def _in_flight(story: Story, backup: str) -> set[str]:
    found = story.terminal.ask("inspect", backup)
    return {call["call_id"] for call in found["in_flight"]}


def _status(story: Story) -> list[dict[str, Any]]:
    told = story.terminal.ask("status", ends_with=(0, 4, 5, 6))
    return [d for d in told["databases"] if d["state"] != "stopped"] if told else []


def _are_all(databases: Mapping[str, Path], state: str) -> bool:
    """Return whether every sweep was taken up and is in this state."""
    return all(
        _states(path) == dict.fromkeys(PLAN[name], state) for name, path in databases.items()
    )


def _is_cooling(databases: Mapping[str, Path]) -> bool:
    """Return whether nothing runs any more, and some durable sleeps are pending."""
    states = [_states(path) for path in databases.values()]
    everything = [state for seen in states for state in seen.values()]
    are_all_there = all(
        seen.keys() == PLAN[n].keys() for n, seen in zip(PLAN, states, strict=True)
    )
    return (
        are_all_there and set(everything) <= {"blocked", "finished"} and "blocked" in everything
    )


def _states(path: Path) -> dict[str, str]:
    reader = open_reader(path)
    try:
        return {row.id: str(row.state) for row in reader.executions(ExecutionFilter())}
    finally:
        reader.close()


def _logs(databases: Mapping[str, Path]) -> Events:
    found: dict[str, list[dict[str, Any]]] = {}
    for path in databases.values():
        reader = open_reader(path)
        for row in reader.executions(ExecutionFilter()):
            found[row.id] = [
                {"kind": e.kind, **msgspec.json.decode(e.body)} for e in reader.log(row.key)
            ]
        reader.close()
    return found
