"""Runs the Litestream process of one group of databases, and sees how it fares."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from obelisk_ops import process
from obelisk_ops.errors import CredentialsError, OpsError, Unavailable
from obelisk_ops.litestream.config import Config, Database
from obelisk_ops.supervise.bucket import problem_of
from obelisk_ops.supervise.child import Litestream, Said
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.groups import Change, is_complete
from obelisk_ops.supervise.health import Problem, words_for_ms
from obelisk_ops.supervise.launch import digest, environment, launch, litestream_config
from obelisk_ops.supervise.plan import (
    Child,
    ChildState,
    Step,
    Wanted,
    backoff_ms,
    exited,
    is_fatal,
    next_step,
    started,
    stopping,
)

_TICK_S = 0.5
#: While something is about to happen to the process.
_BUSY_TICK_S = 0.1

#: A complaint that is not repeated for so long is history.
_NEWS_MS = 60_000
#: How often the process has to show that it lives, if nobody asks it anything.
_SIGN_OF_LIFE_MS = 5_000
#: While the bucket does not accept the credentials, how often they are read again.
_REFRESH_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """
    What one database asks of the process of its group.

    Attributes:
        database: How it is replicated; None while it must not be.
        inode: The file it is; None if there is none, or it must not be replicated.
        is_awaited: Whether it is about to be ready.
    """

    database: Database | None = None
    inode: int | None = None
    is_awaited: bool = False

    def is_same_file(self, other: Member) -> bool:
        """Tell whether both ask for the same, or for nothing."""
        return (self.database, self.inode) == (other.database, other.inode)


class Runner:
    """
    The process of one group.

    Attributes:
        name: The group.
        fleet: What all groups share.
        child: What is known of the process; None if there is none.
        problem: Why none can be started.
        looked_ms: When it last looked and acted, by ``Clock.elapsed_ms``.
    """

    def __init__(self, name: str, fleet: Fleet) -> None:
        self.name = name
        self.child: Child | None = None
        self.problem: Problem | None = None
        self.fleet = fleet
        self.looked_ms = fleet.clock.elapsed_ms()
        self._members: dict[str, Member] = {}
        self._listeners: dict[str, Callable[[], None]] = {}
        self._wake = asyncio.Event()
        self._env: Mapping[str, str] | None = None
        self._refreshed_ms: int | None = None
        self._was_refused = False
        self._wanted: tuple[Wanted, Config] | None = None
        self._change: Change | None = None
        self._process: Litestream | None = None
        self._asking: asyncio.Task[None] | None = None
        self._crash = ""
        self._words: dict[str, tuple[str, int]] = {}

    # -- what its databases say to it, and ask ------------------------------------------

    def join(self, database: str, on_news: Callable[[], None]) -> None:
        """Let a database hear when something happens to the process."""
        self._listeners[database] = on_news

    def want(self, database: str, member: Member) -> None:
        """Note what a database asks of the process."""
        before = self._members.get(database)
        if before == member:
            return
        self._members[database] = member
        if member.is_same_file(before or Member()):
            # Only whether it is awaited has changed: others wait for it, or no longer.
            self._wanted = None
            self._wake.set()
        else:
            self._changed()

    def leave(self, database: str) -> None:
        """Serve a database no more; what it has on this disk is shipped if that is possible."""
        if self._members.pop(database, None) is not None:
            self._changed()

    def part(self, database: str) -> None:
        """Forget a database for good."""
        self.leave(database)
        self._listeners.pop(database, None)

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody needs it and nothing of it runs."""
        return not self._members and not self._listeners and self.child is None

    @property
    def process(self) -> Litestream | None:
        """The process while it runs."""
        running = self.child is not None and self.child.state is not ChildState.EXITED
        return self._process if running else None

    def process_of(self, database: str) -> Litestream | None:
        """Return the process that holds the file of *database* open; None if none does."""
        child = self.child
        return self.process if child is not None and database in child.inodes else None

    @property
    def inodes(self) -> set[int]:
        """The files that the last process had open."""
        return set(self.child.inodes.values()) if self.child else set()

    @property
    def is_fatal(self) -> bool:
        """Tell whether it failed so often that a person should look."""
        return self.child is not None and is_fatal(self.child, self.fleet.limits)

    @property
    def crash(self) -> Problem | None:
        """Why it does not run, if it ended unasked; with the time of the next attempt."""
        child = self.child
        if child is None or child.state is not ChildState.EXITED or not self._crash:
            return None
        limits = self.fleet.limits
        due_ms = child.since_ms + backoff_ms(child.failures, limits)
        rest = words_for_ms(max(0, due_ms - self.fleet.clock.elapsed_ms()))
        text = f"{self._crash}; next start in {rest}"
        return Problem(code="litestream", text=text, since_ms=child.since_ms)

    def words(self, path: Path) -> str:
        """Return what the process said of late of one database, if it was not routine."""
        if self.process is None:
            return ""
        now_ms = self.fleet.clock.elapsed_ms()
        said = (self._words.get(about) for about in (path.name, ""))
        return next(
            (words for words, at_ms in filter(None, said) if now_ms - at_ms < _NEWS_MS), ""
        )

    def answered(self) -> None:
        """Note that the process has answered on its socket."""
        if self.child is not None:
            self.child = replace(self.child, answered_ms=self.fleet.clock.elapsed_ms())

    def refresh(self) -> None:
        """Read the credentials again; a process with older ones is replaced."""
        now_ms = self._refreshed_ms = self.fleet.clock.elapsed_ms()
        try:
            self._env = environment(self.fleet.replica)
        except OpsError as error:
            since_ms = self.problem.since_ms if self.problem else now_ms
            self.problem = problem_of(error, since_ms=since_ms)
        else:
            self.problem = None
        self._wanted = None
        self._wake.set()

    # -- its loop -----------------------------------------------------------------------

    async def run(self) -> None:
        """Look, decide and act until cancelled."""
        while True:
            try:
                self.tick()
            except Exception as bug:  # noqa: BLE001 - the other groups go on
                self.fleet.log.warning("bug", group=self.name, error=repr(bug))
            self.looked_ms = self.fleet.clock.elapsed_ms()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()

    def tick(self) -> None:
        """Look once, decide once, act once."""
        self._look_at_credentials()
        self._look()
        self._ask_for_life()
        wanted, config = self._wish()
        step = next_step(
            wanted,
            self.child,
            now_ms=self.fleet.clock.elapsed_ms(),
            limits=self.fleet.limits,
        )
        self._act(step, wanted, config)

    def _pause_s(self) -> float:
        child = self.child
        is_steady = child is None or child.state is ChildState.RUNNING
        return _TICK_S if is_steady and self._change is None else _BUSY_TICK_S

    def _changed(self) -> None:
        now_ms = self.fleet.clock.elapsed_ms()
        first_ms = self._change.first_ms if self._change else now_ms
        self._change = Change(first_ms=first_ms, last_ms=now_ms)
        self._wanted = None
        self._wake.set()

    def _wish(self) -> tuple[Wanted | None, Config | None]:
        if not self._members or self._env is None:
            return None, None
        deletes = self.fleet.retention.may_delete()
        if self._wanted is None or self._wanted[1].deletes != deletes:
            ready = {n: m.database for n, m in sorted(self._members.items()) if m.database}
            config = litestream_config(ready.values(), self.fleet.litestream, deletes=deletes)
            inodes = {
                name: member.inode if name in ready else None
                for name, member in self._members.items()
            }
            wanted = Wanted(config=digest(config, self._env), inodes=inodes)
            self._wanted = (wanted, config)
        wanted, config = self._wanted
        if self.process is not None and self.child and self.child.config == wanted.config:
            self._change = None
        complete = is_complete(
            self._change,
            awaited=sum(member.is_awaited for member in self._members.values()),
            now_ms=self.fleet.clock.elapsed_ms(),
        )
        return replace(wanted, is_complete=complete), config

    def _look_at_credentials(self) -> None:
        problem, now_ms = self.fleet.bucket.problem, self.fleet.clock.elapsed_ms()
        refused = problem is not None and problem.code == CredentialsError.code
        # Once they are accepted there may be others than those that were read here.
        is_news = self._was_refused and not refused
        is_due = now_ms - (self._refreshed_ms or 0) >= _REFRESH_MS
        self._was_refused = refused
        if self._refreshed_ms is None or is_news or (is_due and (refused or self.problem)):
            self.refresh()

    def _look(self) -> None:
        """Notice that the process has ended."""
        child, process = self.child, self._process
        if child is None or process is None or child.state is ChildState.EXITED:
            return
        if process.exit_code() is None:
            return
        was_asked = child.state is ChildState.STOPPING
        now_ms = self.fleet.clock.elapsed_ms()
        self.child = exited(child, now_ms=now_ms, limits=self.fleet.limits)
        words = process.exit_words()
        self._crash = "" if was_asked else words
        log = self.fleet.log.info if was_asked else self.fleet.log.warning
        log("litestream_ended", **self._label(child), pid=process.pid, how=words)
        self._tell()

    def _ask_for_life(self) -> None:
        child, process = self.child, self.process
        if child is None or process is None or (self._asking and not self._asking.done()):
            return
        if self.fleet.clock.elapsed_ms() - child.answered_ms >= _SIGN_OF_LIFE_MS:
            self._asking = asyncio.ensure_future(self._ask(process))

    async def _ask(self, process: Litestream) -> None:
        with suppress(Unavailable):
            info = await process.control.info()
            if info.pid == process.pid and process is self._process:
                self.answered()

    def _act(self, step: Step | None, wanted: Wanted | None, config: Config | None) -> None:
        match step:
            case Step.SPAWN if wanted is not None and config is not None:
                if self.fleet.lease.may_write():
                    self._spawn(wanted, config)
            case Step.TERMINATE:
                self._stop(is_gentle=True)
            case Step.KILL:
                self._stop(is_gentle=False)
            case Step.FORGET:
                self.child, self._process, self._crash = None, None, ""
                self._tell()
            case _:
                pass

    def halt(self) -> None:
        """End the process now, whatever was planned: there is no right to write any more."""
        if self.process is not None:
            self._stop(is_gentle=False)
        self._tell()

    def _stop(self, *, is_gentle: bool) -> None:
        process, child = self._process, self.child
        if process is None or child is None:
            return
        if is_gentle:
            process.terminate()
        else:
            log = self.fleet.log.warning
            log("litestream_killed", **self._label(child), pid=process.pid)
            process.kill()
        if child.state is ChildState.RUNNING:
            self.child = stopping(child, now_ms=self.fleet.clock.elapsed_ms())

    def _spawn(self, wanted: Wanted, config: Config) -> None:
        fleet = self.fleet
        self.child = started(self.child, wanted, now_ms=fleet.clock.elapsed_ms())
        self._change = None
        self._words.clear()
        try:
            ready = launch(
                config,
                self._env or {},
                program=fleet.program,
                file=fleet.configs / f"{self.name}.yml",
                socket_path=fleet.socket_of(self.name),
            )
            self._process = Litestream(ready, on_line=self._heard, on_end=self._wake.set)
        except (OpsError, OSError) as error:
            self._crash = f"Litestream cannot be started: {_why(error)}"
            now_ms = fleet.clock.elapsed_ms()
            self.child = exited(self.child, now_ms=now_ms, limits=fleet.limits)
        else:
            label = self._label(self.child)
            fleet.log.info("litestream_started", **label, pid=self._process.pid)
        self._tell()

    def _heard(self, said: Said) -> None:
        self._words[said.database] = (said.words, self.fleet.clock.elapsed_ms())
        about = {"about": said.database} if said.database else {}
        group = self._label(self.child) if self.child else {}
        self.fleet.log.warning("litestream_says", **group, **about, line=said.words)

    def _label(self, child: Child) -> dict[str, object]:
        names = list(child.inodes)
        if len(names) == 1:
            return {"database": names[0]}
        return {"group": self.name, "databases": len(names)}

    def _tell(self) -> None:
        for on_news in self._listeners.values():
            on_news()


def _why(error: OpsError | OSError) -> str:
    if isinstance(error, OSError) and process.is_exhausted(error):
        return f"too many processes or threads run; {process.MORE_PROCESSES}"
    return str(error)
