"""Carries out what was decided about one Litestream process, and sees how it fares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from obelisk_ops.errors import OpsError
from obelisk_ops.litestream.config import Config
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Problem, words_for_ms
from obelisk_ops.supervise.launch import launch
from obelisk_ops.supervise.plan import (
    Child,
    ChildState,
    Step,
    Wanted,
    backoff_ms,
    exited,
    is_fatal,
    started,
    stopping,
)

#: A complaint that is not repeated for so long is history.
_NEWS_MS = 60_000


class Runner:
    """
    The process of one database.

    Attributes:
        child: What is known of it; None if there is none.
    """

    def __init__(self, name: str, fleet: Fleet, *, on_news: Callable[[], None]) -> None:
        self.child: Child | None = None
        self._name, self._fleet = name, fleet
        self._on_news = on_news
        self._process: Litestream | None = None
        self._crash = ""
        self._words = ("", 0)

    @property
    def process(self) -> Litestream | None:
        """The process while it runs."""
        running = self.child is not None and self.child.state is not ChildState.EXITED
        return self._process if running else None

    @property
    def is_fatal(self) -> bool:
        """Tell whether it failed so often that a person should look."""
        return self.child is not None and is_fatal(self.child, self._fleet.limits)

    @property
    def crash(self) -> Problem | None:
        """Why it does not run, if it ended unasked; with the time of the next attempt."""
        child = self.child
        if child is None or child.state is not ChildState.EXITED or not self._crash:
            return None
        limits = self._fleet.limits
        due_ms = child.since_ms + backoff_ms(child.failures, limits)
        rest = words_for_ms(max(0, due_ms - self._fleet.clock.elapsed_ms()))
        text = f"{self._crash}; next start in {rest}"
        return Problem(code="litestream", text=text, since_ms=child.since_ms)

    @property
    def silent_ms(self) -> int:
        """How long the process has not answered; 0 if none runs."""
        if self.process is None or self.child is None:
            return 0
        return self._fleet.clock.elapsed_ms() - self.child.answered_ms

    @property
    def words(self) -> str:
        """What the process said of late that was not routine."""
        words, at_ms = self._words
        is_news = self._fleet.clock.elapsed_ms() - at_ms < _NEWS_MS
        return words if is_news and self.process is not None else ""

    def look(self) -> None:
        """Notice that the process has ended."""
        child, process = self.child, self._process
        if child is None or process is None or child.state is ChildState.EXITED:
            return
        if process.exit_code() is None:
            return
        was_asked = child.state is ChildState.STOPPING
        now_ms = self._fleet.clock.elapsed_ms()
        self.child = exited(child, now_ms=now_ms, limits=self._fleet.limits)
        words = process.exit_words()
        self._crash = "" if was_asked else words
        log = self._fleet.log.info if was_asked else self._fleet.log.warning
        log("litestream_ended", database=self._name, pid=process.pid, how=words)

    def answered(self) -> None:
        """Note that the process has answered on its socket."""
        if self.child is not None:
            self.child = replace(self.child, answered_ms=self._fleet.clock.elapsed_ms())

    def act(
        self,
        step: Step | None,
        wanted: Wanted | None,
        start: tuple[Config, Mapping[str, str]] | None,
    ) -> None:
        """Carry out one step; *start* is what a new process would be started with."""
        match step:
            case Step.SPAWN if wanted is not None and start is not None:
                self._spawn(wanted, *start)
            case Step.TERMINATE:
                self._stop(is_gentle=True)
            case Step.KILL:
                self._stop(is_gentle=False)
            case Step.FORGET:
                self.child, self._process, self._crash = None, None, ""
            case _:
                pass

    def halt(self) -> None:
        """End the process now, whatever was planned."""
        if self.process is not None:
            self._stop(is_gentle=False)

    def _stop(self, *, is_gentle: bool) -> None:
        process, child = self._process, self.child
        if process is None or child is None:
            return
        if is_gentle:
            process.terminate()
        else:
            self._fleet.log.warning("litestream_killed", database=self._name, pid=process.pid)
            process.kill()
        if child.state is ChildState.RUNNING:
            self.child = stopping(child, now_ms=self._fleet.clock.elapsed_ms())

    def _spawn(self, wanted: Wanted, config: Config, env: Mapping[str, str]) -> None:
        fleet = self._fleet
        before = self.child
        self.child = started(before, wanted, now_ms=fleet.clock.elapsed_ms())
        try:
            ready = launch(
                config,
                env,
                program=fleet.program,
                file=fleet.configs / f"{self._name}.yml",
                socket_path=fleet.socket_of(self._name),
            )
            self._process = Litestream(ready, on_line=self._heard, on_end=self._on_news)
        except (OpsError, OSError) as error:
            self._crash = f"Litestream cannot be started: {error}"
            now_ms = fleet.clock.elapsed_ms()
            self.child = exited(self.child, now_ms=now_ms, limits=fleet.limits)
            return
        fleet.log.info("litestream_started", database=self._name, pid=self._process.pid)

    def _heard(self, words: str) -> None:
        self._words = (words, self._fleet.clock.elapsed_ms())
        self._fleet.log.warning("litestream_says", database=self._name, line=words)
