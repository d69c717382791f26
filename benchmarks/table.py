"""The tables that ``make bench`` prints, and the same as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import rounds
from benchmarks.environments import PEERS
from benchmarks.goals import COMPARISONS, GOALS, OURS


def as_json(report: rounds.Report) -> dict[str, Any]:
    """Return everything: machine, medians, every round, goals, what was not run."""
    figures = report.figures()
    ours = figures.get(OURS, {})
    return {
        "machine": rounds.machine() | {"load": report.load},
        "engines": report.versions,
        "missing": report.missing,
        "figures": figures,
        "rounds": report.rounds,
        "goals": [
            {
                "figure": goal.figure,
                "least": goal.least,
                "most": goal.most,
                "value": ours[goal.figure],
                "met": goal.is_met(ours[goal.figure]),
            }
            for goal in GOALS
            if goal.figure in ours and goal.limit
        ],
    }


def show(report: rounds.Report, console: Console) -> None:
    """Print the promises with what was measured, then the engines side by side."""
    figures = report.figures()
    console.print(_promises(figures.get(OURS, {})))
    console.print()
    console.print(_engines(report, figures))
    console.print()
    for line in _notes(report):
        console.print(line, style="dim", highlight=False, soft_wrap=True)


def _promises(ours: dict[str, float]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("work", "what", "measured", "promised", ""):
        table.add_column(
            title, justify="right" if title in ("measured", "promised") else "left"
        )
    for goal in GOALS:
        value = ours.get(goal.figure)
        told = "-" if value is None else goal.form.format(value)
        met = None if value is None else goal.is_met(value)
        verdict = "" if met is None else "yes" if met else "[bold]no[/]"
        table.add_row(goal.work, goal.what, told, goal.limit, verdict)
    return table


def _engines(report: rounds.Report, figures: dict[str, dict[str, float]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [OURS, *(peer.name for peer in PEERS)]
    for title in ("work", *names):
        table.add_column(title, justify="left" if title == "work" else "right")
    for row in COMPARISONS:
        cells = [
            row.form.format(figures[name][row.figure])
            if row.figure in figures.get(name, {})
            else "not run"
            if name in report.missing
            else "-"
            for name in names
        ]
        if any(cell not in ("-", "not run") for cell in cells):
            table.add_row(row.work, *cells)
    return table


def _notes(report: rounds.Report) -> list[str]:
    facts = rounds.machine()
    low, high = min(report.load, default=0.0), max(report.load, default=0.0)
    counts = [len(values) for kept in report.rounds.values() for values in kept.values()]
    told = [
        f"{facts['cpus']} processors, Python {facts['python']}, SQLite {facts['sqlite']}",
        f"load {low:.1f} to {high:.1f}; medians of {max(counts, default=0)} interleaved rounds",
        "ours: WAL, synchronous=FULL, 1 KB pages; all workflows in flight",
    ]
    told += [
        f"{peer.name} {report.versions[peer.name]}: {peer.settings}"
        for peer in PEERS
        if peer.name in report.versions
    ]
    return told + [f"{name}: {reason}" for name, reason in report.missing.items()]
