"""
The account of the fault matrix: which rows the tests that ran have held.

docs/reference/faults.md is read off the tests; here a run is held against it. A run of the
whole suite in which a row that the page calls held was not held by a test that passed fails.
"""

from __future__ import annotations

import runpy
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_PAGES = Path(__file__).parents[1] / "scripts" / "catalogues.py"
_ROW = "fault"


class Matrix:
    """Hears of every test that ends, in workers too, and adds up at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_whole = _is_whole(config)
        self._passed: defaultdict[int, set[str]] = defaultdict(set)
        self._other: defaultdict[int, set[str]] = defaultdict(set)

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each report carry its rows: that is what comes back from a worker."""
        for item in items:
            rows = [row for mark in item.iter_markers(_ROW) for row in mark.args]
            item.user_properties += [(_ROW, row) for row in rows]

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test ended: it passed if its call did and nothing of it failed."""
        for row in (value for name, value in report.user_properties if name == _ROW):
            assert isinstance(row, int)
            if not report.passed:
                self._other[row].add(report.nodeid)
            elif report.when == "call":
                self._passed[row].add(report.nodeid)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say which rows were held, and of a whole run which were not."""
        if not (self._passed or self._other):
            return
        held = sorted(row for row, tests in self._passed.items() if tests - self._other[row])
        terminalreporter.section("fault matrix")
        terminalreporter.line(f"held in this run: {len(held)} rows: {_listed(held)}")
        if self._is_whole:
            terminalreporter.line(
                f"not held, though faults.md says so: {_listed(self._missed)}"
            )

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a whole run that did not hold what the page says."""
        if self._is_whole and self._missed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _missed(self) -> list[int]:
        promised: Any = runpy.run_path(str(_PAGES))["FAULTS"].holders(only_default=True)
        wanted = {int(row) for row in promised}
        return sorted(row for row in wanted if not self._passed[row] - self._other[row])


def _is_whole(config: pytest.Config) -> bool:
    is_worker = hasattr(config, "workerinput")
    source = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    chosen = config.option.keyword or config.option.markexpr not in {"", "not chaos"}
    return source and not (is_worker or chosen or config.option.collectonly)


def _listed(rows: list[int]) -> str:
    return ", ".join(map(str, rows)) or "none"
