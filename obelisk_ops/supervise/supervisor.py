"""
The fleet: which databases there are, one keeper for each, from start to stop.

One asyncio program. Processes are started from its thread and from no other:
the kernel ends them with the thread that started them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from obelisk_ops.core.clock import Clock
from obelisk_ops.durable import signposts
from obelisk_ops.durable.supervised import QUESTION
from obelisk_ops.errors import OpsError
from obelisk_ops.litestream import program
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.settings import (
    ReplicaSettings,
    Settings,
    child_environment,
    expand_databases,
    find_databases,
)
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.barrier import Barriers, find_keeper
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.companion import Companion, Facts, accompany, facts_of
from obelisk_ops.supervise.control import ControlServer
from obelisk_ops.supervise.drillbook import Drillbook
from obelisk_ops.supervise.farewell import PROVEN, Farewell, take_leave
from obelisk_ops.supervise.fleet import Fleet, Log
from obelisk_ops.supervise.launch import replica_of
from obelisk_ops.supervise.lease import Holder
from obelisk_ops.supervise.lookout import Lookout
from obelisk_ops.supervise.notify import Notifier
from obelisk_ops.supervise.orphans import end_orphans
from obelisk_ops.supervise.outcome import Outcome, is_done, outcome_of
from obelisk_ops.supervise.places import Places
from obelisk_ops.supervise.reload import compare
from obelisk_ops.supervise.rights import Rights
from obelisk_ops.supervise.roster import Roster
from obelisk_ops.supervise.signposts import Signposts
from obelisk_ops.supervise.status import Row, row_of, summary, with_drill
from obelisk_ops.supervise.threads import started_pool

_RESCAN_S = 0.2
#: More than there are requests at once: notes are written besides, and ends waited for.
_THREADS = 8
#: Behind the stop of all databases: requests that are under way end, and the process.
_AFTER_STOP_S = 4.0
_GIVE_BACK_S = 2.0
#: Of the time to stop, how long it goes on as usual before the processes are told to end.
_SETTLE_SHARE = 0.4
#: ``--once`` gives up when nothing has moved for so long.
_ONCE_PATIENCE_MS = 30_000
_ONCE_LOOK_S = 0.1


class Supervisor:
    """
    Keeps every configured database replicated until it is told to stop.

    Attributes:
        is_ready: It has started, and knows which databases there are.
        companions: What runs beside it and looks at it.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reload: Callable[[], Settings],
        open_store: Callable[[ReplicaSettings], ObjectStore],
        clock: Clock,
        log: Log,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._open_store = open_store
        self._clock, self._log = clock, log
        self._notifier = notifier or Notifier(None, clock)
        self.companions: Sequence[Companion] = ()
        self._version, self._started_ms = "", clock.now_ms()
        self._rights = Rights(clock, log, on_halt=self._halt)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop_by_ms: int | None = None
        self._scanned_ms = clock.elapsed_ms()
        self._lookout = Lookout()
        self._scan_troubles: set[str] = set()
        self.is_ready = False

    async def run(self, *, once: bool = False, hears_signals: bool = True) -> Outcome:
        """
        Supervise until told to stop, or with *once* until everything is proven.

        Without *hears_signals*, whoever runs it calls ``stop`` and ``hang_up``.

        Raises:
            ConfigError: There is no replica, or a database cannot be named.
            ProgramMissing: There is no Litestream, or one too old.
            TooManyProcesses: The system starts no more processes or threads.
            DatabaseLocked: Another supervisor has the state folder.
        """
        found = program.find()
        self._version = program.check_version(found, child_environment({}))
        replica_of(self._settings)
        expand_databases(self._settings)
        places = self._places = Places(self._settings.state_dir)
        threads = started_pool(_THREADS, "work")
        asyncio.get_running_loop().set_default_executor(threads)
        with ExitStack() as leaving:
            # asyncio needs a thread to come to its end, and there may be none but these.
            leaving.callback(threads.shutdown)
            # However it comes to the end, nothing is left running: another one may follow here.
            leaving.callback(self._notifier.close)
            leaving.callback(places.release)
            leaving.callback(self._rights.let_go)
            for pid in end_orphans(places.configs):
                self._log.warning("orphan_killed", pid=pid)
            self._roster = Roster(self._make_fleet(found, places))
            leaving.callback(self._roster.let_go)
            barriers = Barriers(self._roster.keepers.values)
            server = ControlServer(
                places.control,
                {"status": self._status},
                {QUESTION: barriers.answer, signposts.QUESTION: self._looks_after},
            )
            self._signposts = Signposts(self._settings.state_dir, places.control)
            leaving.callback(self._signposts.take_down)
            try:
                await server.start()
                with self._signals() if hears_signals else nullcontext():
                    return await self._supervise(once=once)
            finally:
                await server.stop()

    async def _supervise(self, *, once: bool) -> Outcome:
        self._rescan()
        self.is_ready = True
        databases = len(self._roster.keepers)
        self._log.info("ready", databases=databases, litestream=self._version)
        scanning = asyncio.ensure_future(self._keep_scanning())
        telling = asyncio.ensure_future(
            self._notifier.keep_telling(self._summary, self._worked_ms)
        )
        beside = [asyncio.ensure_future(accompany(c, self, self._log)) for c in self.companions]
        try:
            if once:
                await self._until_proven()
            else:
                await self._until_stopped(scanning)
                self._rescan()
                await self._until_settled()
            scanning.cancel()
            rows = self.rows()
            farewells = await self._say_farewell()
            await self._give_back()
        finally:
            for task in (scanning, telling, *beside):
                task.cancel()
        return outcome_of(rows, farewells, once=once)

    async def _give_back(self) -> None:
        # A lease that is not given back runs out by itself: a stop does not wait long for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._hurry.is_set() else _GIVE_BACK_S):
                await self._rights.give_back()

    # -- which databases there are ------------------------------------------------------

    async def _keep_scanning(self) -> None:
        while True:
            await asyncio.sleep(_RESCAN_S)
            now_ms = self._scanned_ms = self._clock.elapsed_ms()
            # While a process still holds what another one is to have, every time.
            if self._roster.is_moving or self._lookout.is_due(self._settings, now_ms=now_ms):
                self._rescan()

    def _rescan(self) -> None:
        known = {name: keeper.path for name, keeper in self._roster.keepers.items()}
        found, wrong = find_databases(self._settings, known)
        # A file that appeared and cannot be named stops none of the others.
        for error in wrong:
            if error.message not in self._scan_troubles:
                self._log.warning("config", error=error.message, hint=error.hint)
        self._scan_troubles = {error.message for error in wrong}
        self._signposts.put_up(entry.path for entry in self._settings.databases)
        self._roster.update(found)
        self._rights.give_back_unused(self._roster.leases)

    async def _looks_after(self, question: dict[str, Any], _say: object) -> object:
        """Tell an engine whether its database is looked after here, and look for it now."""
        database, keepers = Path(str(question["database"])), self._roster.keepers
        if find_keeper(keepers.values(), database) is None and not self._stop.is_set():
            self._rescan()
        is_ours = find_keeper(keepers.values(), database) is not None
        return {signposts.QUESTION: is_ours}

    def hang_up(self) -> None:
        """Read the configuration again, and replace what it changes."""
        self._notifier.reloading()
        self._read_again()
        self._notifier.ready()

    def _read_again(self) -> None:
        roster = self._roster
        present = {name: keeper.path for name, keeper in roster.keepers.items()}
        try:
            settings = self._reload()
            wanted = expand_databases(settings)
            changes = compare(self._settings, settings, present=present, wanted=wanted)
        except OpsError as wrong:
            self._log.warning("reload_failed", error=wrong.message, hint=wrong.hint)
            return
        for key in changes.later:
            self._log.warning("reload", note=f"{key} changes at the next start only")
        self._settings = settings
        if changes.is_elsewhere:
            roster.retire(present)
            roster.fleet = self._make_fleet(roster.fleet.program, self._places)
        else:
            roster.retire(changes.retired)
            self._adopt(settings)
        self._log.info(
            "reloaded",
            databases=len(wanted),
            added=len(changes.added),
            removed=len(changes.removed),
            moved=len(changes.moved),
            settings_changed=changes.is_otherwise or changes.is_elsewhere,
        )
        self._rescan()

    def _adopt(self, settings: Settings) -> None:
        """Let everybody go on with other settings, in the same place."""
        replica, fleet = replica_of(settings), self._roster.fleet
        fleet.replica, fleet.litestream = replica, settings.litestream
        fleet.bucket.reconnect(lambda: self._open_store(replica))
        self._roster.refresh()

    # -- from start to stop -------------------------------------------------------------

    def _make_fleet(self, found: Path, places: Places) -> Fleet:
        bucket = self._open_bucket(self._settings)
        return Fleet(
            replica=replica_of(self._settings),
            litestream=self._settings.litestream,
            bucket=bucket,
            lease=self._rights.obtain(self._settings, bucket, places.lease),
            host=identity.host(self._settings.host),
            program=found,
            configs=places.configs,
            sockets=places.sockets,
            control=places.control,
            clock=self._clock,
            log=self._log,
            drills=Drillbook(self._settings.state_dir, replica_of(self._settings).url),
        )

    def _open_bucket(self, settings: Settings) -> Bucket:
        replica = replica_of(settings)
        bucket = Bucket(lambda: self._open_store(replica), self._clock)
        bucket.start_threads()
        return bucket

    def _halt(self, lease: Holder) -> None:
        self._roster.halt(lease)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.hang_up,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def stop(self, within_s: float | None = None) -> None:
        """Stop within so many seconds, by default ``stop_timeout``; called again, at once."""
        if self._stop.is_set():
            self._hurry.set()
        else:
            limit_s = self._settings.stop_timeout_s if within_s is None else within_s
            self._stop_by_ms = self._clock.elapsed_ms() + round(limit_s * 1000)
        self._log.info("stopping", at_once=self._hurry.is_set())
        self._stop.set()

    @property
    def bucket(self) -> Bucket:
        """The bucket, and what is known of it."""
        return self._roster.fleet.bucket

    @property
    def undecided(self) -> set[str]:
        """The databases whose owner may be dead; whether it is shows in the time of a lease."""
        return {name for name, keeper in self._roster.keepers.items() if keeper.is_undecided}

    def stop_at_once(self) -> None:
        """Stop without a last sync."""
        self._hurry.set()
        self.stop(0)

    async def _until_stopped(self, scanning: asyncio.Task[None]) -> None:
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({stopping, scanning}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if scanning.done():
            # It ends only by a bug: new databases would be missed without a word.
            await scanning

    async def _until_settled(self) -> None:
        """Give what appeared or changed in the last moment the time to be shipped as usual."""
        until_ms = self._clock.elapsed_ms() + round(self._left_s() * _SETTLE_SHARE * 1000)
        while not self._hurry.is_set() and self._clock.elapsed_ms() < until_ms:
            # Waiting gains nothing where the bucket is away, or another machine is the owner.
            keepers = self._roster.keepers.values()
            if self.bucket.problem or all(k.is_undecided or is_done(k) for k in keepers):
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _ONCE_LOOK_S)

    def _left_s(self) -> float:
        if self._stop_by_ms is None:
            return self._settings.stop_timeout_s
        return max(0, self._stop_by_ms - self._clock.elapsed_ms()) / 1000

    async def _until_proven(self) -> None:
        seen, since_ms = None, self._clock.elapsed_ms()
        while not self._stop.is_set():
            open_cases = [k for k in self._roster.keepers.values() if not is_done(k)]
            now = [(k.name, k.health.state, k.tracker and k.tracker.local) for k in open_cases]
            if now != seen:
                seen, since_ms = now, self._clock.elapsed_ms()
            if not open_cases or self._clock.elapsed_ms() - since_ms > _ONCE_PATIENCE_MS:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _ONCE_LOOK_S)

    async def _say_farewell(self) -> dict[str, Farewell]:
        roster = self._roster
        roster.stop_looking()
        within_s = self._left_s()
        self._notifier.stopping(within_s + _AFTER_STOP_S)
        found = await take_leave(
            list(roster.keepers.values()),
            roster.processes,
            roster.fleet,
            hurry=self._hurry,
            within_s=within_s,
        )
        roster.release()
        for name, farewell in found.items():
            log = self._log.info if farewell.exit_status == PROVEN else self._log.warning
            log("stopped", database=name, detail=farewell.detail)
        return found

    def _summary(self) -> str:
        return summary(keeper.health for keeper in self._roster.keepers.values())

    def _worked_ms(self) -> list[int]:
        # While it stops nobody looks any more, and the stop has a limit of its own.
        return [] if self._stop.is_set() else [self._scanned_ms, *self._roster.looked_ms]

    def _status(self) -> object:
        return {"databases": self.rows()}

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self._settings

    def facts(self) -> Facts:
        """Return what is true of the whole."""
        return facts_of(
            self._roster.fleet, litestream=self._version, started_ms=self._started_ms
        )

    def rows(self) -> list[Row]:
        """Return the present verdict on every database, by name."""
        keepers = sorted(self._roster.keepers.values(), key=lambda keeper: keeper.name)
        fleet = self._roster.fleet
        return [with_drill(row_of(k, fleet), fleet.drills) for k in keepers]
