"""Runs every program, each in a process of its own, in interleaved rounds; keeps medians."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import apsw

from benchmarks import goals, program, stats
from benchmarks.children import ROOT, Failed, figures_of
from benchmarks.environments import PEERS, Missing, Peer, Ready, prepare

#: what a peer's module can run, in one process each
PEER_PROGRAMS = ("sequential", "concurrent", "replay")


@dataclass(slots=True)
class Report:
    """Everything that was measured, by engine and figure, and what could not be."""

    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    load: list[float] = field(default_factory=list)

    def add(self, engine: str, figures: dict[str, float]) -> None:
        """Keep the figures of one run."""
        kept = self.rounds.setdefault(engine, {})
        for name, value in figures.items():
            kept.setdefault(name, []).append(value)

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the medians."""
        found = {
            engine: {name: stats.median(values) for name, values in kept.items()}
            for engine, kept in self.rounds.items()
        }
        share = goals.of_best_peer(found)
        if share is not None:
            found[goals.OURS]["concurrent.async.of_best_peer"] = share
        return found


Say = Callable[[str], None]


def run(
    only: Sequence[str], *, size: str, rounds: int, peers: bool, say: Say = print
) -> Report:
    """Run the programs named, *rounds* times, and the peers' between ours."""
    report = Report()
    ready = dict(_prepared(report, say)) if peers else {}
    for number in range(rounds):
        for name in only:
            if number and import_module(f"benchmarks.programs.{name}").ONCE:
                continue
            report.load.append(os.getloadavg()[0])
            say(f"round {number + 1} of {rounds}: {name}")
            _ours(report, name, size)
            if name in PEER_PROGRAMS:
                _theirs(report, ready, name, size)
    return report


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": platform.platform(terse=True),
    }


def _prepared(report: Report, say: Say) -> Iterator[tuple[Peer, Ready]]:
    for peer in PEERS:
        say(f"preparing {peer.name}")
        try:
            ready = prepare(peer)
        except (Missing, OSError) as error:
            report.missing[peer.name] = str(error)
        else:
            report.versions[peer.name] = ready.version
            yield peer, ready


def _ours(report: Report, name: str, size: str) -> None:
    try:
        report.add(goals.OURS, figures_of(program.__name__, name, size))
    except Failed as error:
        report.missing[f"{goals.OURS}, {name}"] = str(error)


def _theirs(report: Report, ready: dict[Peer, Ready], name: str, size: str) -> None:
    for peer, found in ready.items():
        module = f"benchmarks.peers.{peer.module}"
        wanted = peer.size if size == "full" else size
        with tempfile.TemporaryDirectory(prefix=f"bench-{peer.variant}-", dir=ROOT) as place:
            arguments = (name, wanted, str(Path(place)))
            try:
                figures = figures_of(module, *arguments, python=found.python)
            except Failed as error:
                report.missing[f"{peer.name}, {name}"] = str(error)
            else:
                report.add(peer.name, figures)
