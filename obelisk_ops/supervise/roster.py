"""The databases, each with a keeper, and the groups that share a process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from obelisk_ops.supervise import identity
from obelisk_ops.supervise.child import Litestream
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.groups import assign
from obelisk_ops.supervise.keeper import Keeper
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.runner import Runner

#: One timer for everybody: a thousand of them would be most of the work.
_ROUND_S = 0.1
#: So many look closely in one round, who waited longest first. When hundreds have something
#: unsent, the bucket is asked, and others are opened, all the same.
_LOOKS_AT_ONCE = 24


class Roster:
    """
    Who looks after what.

    Attributes:
        fleet: What newcomers share.
        keepers: Who looks after each database, by its name.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.keepers: dict[str, Keeper] = {}
        self._leaving: list[Keeper] = []
        self._is_waiting = False
        self._twins: set[Path] = set()
        self._runners: dict[str, Runner] = {}
        self._tasks: dict[Keeper | Runner, asyncio.Task[None]] = {}
        self._round = asyncio.ensure_future(self._go_round())

    @property
    def is_moving(self) -> bool:
        """Tell whether something still runs that stands in the way of something else."""
        return bool(self._leaving) or self._is_waiting

    @property
    def looked_ms(self) -> list[int]:
        """When each keeper and each runner last looked and acted."""
        return [worker.looked_ms for worker in self._tasks]

    @property
    def processes(self) -> list[Litestream]:
        """The Litestream processes that run now."""
        return [r.process for r in self._runners.values() if r.process is not None]

    @property
    def leases(self) -> set[Holder]:
        """The rights that somebody may still write by."""
        return {self.fleet.lease, *(r.fleet.lease for r in self._runners.values())}

    def halt(self, lease: Holder) -> None:
        """End at once what writes by a right that is lost."""
        for runner in self._runners.values():
            if runner.fleet.lease is lease:
                runner.halt()

    def update(self, found: Mapping[str, Path]) -> None:
        """Look after the databases that were *found*; of others, go on with what there is."""
        self._see_off()
        self._forget_strays(found)
        self._is_waiting = False
        names = found.keys() | self.keepers.keys()
        present = {name: keeper.group for name, keeper in self.keepers.items()}
        groups = assign(names, present, size=self.fleet.group_size)
        self._provide_files(groups.values())
        for name, group in present.items():
            if groups[name] != group:
                self._move(self.keepers[name], groups[name])
        busy = {keeper.path for keeper in self._leaving}
        for name, path in found.items():
            if name not in self.keepers and path not in busy and not self._is_held(path):
                self._add(name, path, groups[name])

    def _forget_strays(self, found: Mapping[str, Path]) -> None:
        """Stop looking after what was never a database, and is not there any more."""
        others = self.keepers.keys() - found.keys()
        strays = [name for name in others if self.keepers[name].is_of_nothing]
        for name in strays:
            self.fleet.log.info("never_a_database", database=name, what="the file is gone")
        self.retire(strays)

    def _provide_files(self, groups: Iterable[str]) -> None:
        files = self.fleet.files
        if files.provide_for(groups) and files.shortage is not None:
            short = files.shortage
            self.fleet.log.warning("open_files", error=short.words, hint=short.way_out)

    async def _go_round(self) -> None:
        """Let every keeper look when it is time to, until cancelled."""
        while True:
            now_ms = self.fleet.clock.elapsed_ms()
            everybody = (*self.keepers.values(), *self._leaving)
            due = [keeper for keeper in everybody if keeper.due_ms <= now_ms]
            looking = 0
            for keeper in sorted(due, key=lambda keeper: keeper.due_ms):
                looking += keeper.glance()
                if looking >= _LOOKS_AT_ONCE:
                    break
            await asyncio.sleep(_ROUND_S)

    def retire(self, names: Iterable[str]) -> None:
        """Stop looking after databases; their processes ship the rest and let go of them."""
        for name in list(names):
            keeper = self.keepers.pop(name)
            keeper.retire()
            self._leaving.append(keeper)

    def refresh(self) -> None:
        """Read the credentials again, and let everybody look at the settings."""
        for runner in self._runners.values():
            runner.refresh()
        for keeper in self.keepers.values():
            keeper.wake()

    def stop_looking(self) -> None:
        """Decide nothing any more; the processes run on."""
        for task in (self._round, *self._tasks.values()):
            task.cancel()

    def let_go(self) -> None:
        """End everything at once."""
        self.stop_looking()
        for process in self.processes:
            process.kill()
        self.release()

    def release(self) -> None:
        """Let go of every database."""
        for keeper in (*self.keepers.values(), *self._leaving):
            keeper.release()

    def _is_held(self, path: Path) -> bool:
        """Tell whether a process has this very file open, under another name."""
        inode = identity.inode_of(path)
        running = (runner for runner in self._runners.values() if runner.process is not None)
        if inode is None or all(inode not in runner.inodes for runner in running):
            return False
        # Renamed: soon its process is ended, for the file is no longer where it was.
        self._is_waiting = True
        twin = next(
            (k for k in self.keepers.values() if identity.inode_of(k.path) == inode), None
        )
        if twin is not None and path not in self._twins:
            self._twins.add(path)
            text = f"{path} and {twin.path} are one file with two names (hard links)"
            self.fleet.log.warning("config", error=text, hint="remove one of them")
        return True

    def _add(self, name: str, path: Path, group: str) -> None:
        runner = self._runner(group)
        if runner is None:
            return
        keeper = self.keepers[name] = Keeper(name, path, self.fleet, runner)
        self._tasks[keeper] = asyncio.ensure_future(keeper.run())
        self.fleet.log.info("database", database=name, path=str(path))

    def _move(self, keeper: Keeper, group: str) -> None:
        runner = self._runner(group)
        if runner is None:
            self._is_waiting = True
        else:
            keeper.move(runner)

    def _runner(self, group: str) -> Runner | None:
        runner = self._runners.get(group)
        if runner is None:
            runner = self._runners[group] = Runner(group, self.fleet)
            self._tasks[runner] = asyncio.ensure_future(runner.run())
        # One of an older configuration is given up first.
        return runner if runner.fleet is self.fleet else None

    def _see_off(self) -> None:
        for keeper in [keeper for keeper in self._leaving if keeper.is_at_rest]:
            self._leaving.remove(keeper)
            self._tasks.pop(keeper).cancel()
            keeper.release()
        for name, runner in list(self._runners.items()):
            if runner.is_idle:
                self._tasks.pop(runner).cancel()
                del self._runners[name]
