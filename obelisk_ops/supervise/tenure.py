"""The right to replicate one file: its lock on this machine, its epoch in the bucket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from obelisk_ops.errors import CredentialsError, DatabaseLocked, Fenced, OpsError
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.supervise import identity
from obelisk_ops.supervise.bucket import problem_of
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.opening import Opened, Presence, settle
from obelisk_ops.supervise.ownership import File, Owner
from obelisk_ops.supervise.sidecar import Lock, Sidecar

_RETRY_MS = 2_000


class Tenure:
    """
    The right to replicate the file that is at a path now.

    Attributes:
        owner: The note of its epoch; None until it is known.
        refusal: Why this machine may not replicate it.
        problem: Why its epoch cannot be found out.
        waiting: What has to happen first, if anything has.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        sidecar: Sidecar,
        fleet: Fleet,
        on_news: Callable[[], None],
    ) -> None:
        self.owner: Owner | None = None
        self.refusal: Problem | None = None
        self.problem: Problem | None = None
        self.waiting = ""
        self._name, self._path = name, path
        self._sidecar, self._fleet = sidecar, fleet
        self._on_news = on_news
        self._lock: Lock | None = None
        self._due_ms = 0
        self._seeking: asyncio.Task[None] | None = None

    def seek(self, inode: int) -> None:
        """Begin to find out the epoch of the file, if it is time to."""
        if self.owner is not None or (self._seeking and not self._seeking.done()):
            return
        now_ms = self._fleet.clock.elapsed_ms()
        if now_ms >= self._due_ms and self._fleet.bucket.is_ready():
            self._due_ms = now_ms + _RETRY_MS
            self._seeking = asyncio.ensure_future(self._seek(inode))

    def end(self) -> None:
        """Forget the epoch: there is another file now, or none."""
        if self._seeking:
            self._seeking.cancel()
        self.owner = self.refusal = self.problem = None
        self._due_ms = 0

    def supersede(self, epoch: int) -> None:
        """Note that another machine has opened a later epoch."""
        text = f"another machine has opened epoch {epoch}; this file is out of date"
        self.refusal = self._problem("fenced", text)

    def release(self) -> None:
        """Give the lock back."""
        if self._seeking:
            self._seeking.cancel()
        if self._lock:
            self._lock.release()
            self._lock = None

    async def _seek(self, inode: int) -> None:
        try:
            opened = await self._try(inode)
        except (Fenced, DatabaseLocked) as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.refusal = self._problem(error.code, f"{error.message}{hint}")
        except OpsError as error:
            # What concerns everybody is kept by the bucket.
            if self._fleet.bucket.problem is None or isinstance(error, CredentialsError):
                since_ms = self._problem(error.code, error.message).since_ms
                self.problem = problem_of(error, since_ms=since_ms)
        else:
            if opened is not None:
                self.refusal = self.problem = None
                self.owner = opened.owner
                event = "epoch_opened" if opened.is_new else "epoch_continued"
                self._fleet.log.info(event, database=self._name, epoch=self.owner.epoch)
        finally:
            self._on_news()

    async def _try(self, inode: int) -> Opened | None:
        seen = identity.identify(self._path)
        self.waiting = "the file is empty" if seen and seen.is_empty else ""
        if seen is None or seen.is_empty or seen.inode != inode:
            return None
        if not seen.is_database:
            text = f"{self._path} is not an SQLite database"
            self.problem = self._problem("corrupt_database", text)
            return None
        self._take_lock()
        fleet = self._fleet
        keys = ReplicaKeys(prefix=fleet.replica.prefix, name=self._name)
        file = File(
            name=self._name,
            host=identity.host(),
            inode=inode,
            database_id=identity.database_id(self._path),
        )
        presence = Presence(
            boot_id=identity.boot_id(),
            socket=str(fleet.control),
            pid=os.getpid(),
            now_ms=fleet.clock.now_ms(),
        )
        return await settle(fleet.bucket, keys, file, self._sidecar, presence)

    def _take_lock(self) -> None:
        if self._lock is not None and self._lock.is_current():
            return
        # The folder was removed and made again: the old lock no longer keeps anybody out.
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._lock = self._sidecar.lock()

    def _problem(self, code: str, text: str) -> Problem:
        before = self.problem or self.refusal
        if before is not None and before.code == code:
            return Problem(code=code, text=text, since_ms=before.since_ms)
        return Problem(code=code, text=text, since_ms=self._fleet.clock.elapsed_ms())
