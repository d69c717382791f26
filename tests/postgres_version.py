"""Which PostgreSQL a run of the tests has used, said at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.postgres import GIVEN

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


class Versions:
    """Says at the end of a run which PostgreSQL it used, also where workers did."""

    key = pytest.StashKey[set[str]]()

    def __init__(self, config: pytest.Config) -> None:
        self._found = config.stash.setdefault(self.key, set())
        self._output: dict[str, object] | None = getattr(config, "workeroutput", None)

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        """Hand on what this worker used."""
        if self._output is not None:
            self._output["postgres"] = sorted(self._found)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take over what a worker used."""
        self._found.update(getattr(node, "workeroutput", {}).get("postgres", []))

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say it."""
        if self._found:
            where = "OBELISK_OPS_TEST_POSTGRES" if GIVEN else "embedded"
            terminalreporter.section("PostgreSQL")
            terminalreporter.line(f"{where}: {', '.join(sorted(self._found))}")
