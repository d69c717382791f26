"""
Holds what Litestream has shipped against the database, file by file.

Who is killed in the middle of a commit leaves it whole in the log and missing in its index
(storage/sqlite/recovery.py). Of our owners that is known at once, by their lock. Of a plain
application, or of a command that was posting a letter, nothing tells but the files: that
Litestream has shipped what the index does not know, and nobody is at work on it.

Then SQLite is made to find the commit, and it was right to ship it. If another was written
over it before, what was shipped is in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from obelisk_ops.errors import OpsError, Unavailable
from obelisk_ops.litestream.likeness import Likeness, compare, is_unfinished
from obelisk_ops.litestream.local import Shipped, level0_file, read_published, read_shipped
from obelisk_ops.storage.sqlite.recovery import find_overlooked_commit
from obelisk_ops.supervise.fleet import Fleet

#: Between "written to the log" and "entered into its index" lies one sync of the disk.
_PATIENCE_S = 1.0
_AGAIN_S = 0.1
#: What was shipped while nobody could look: only the newest of it is compared.
_FILES_MAX = 64
#: Whoever waits for an answer is told by then why there is none yet.
_VOUCHED_MS = 2_000
#: So little is compared in less time than another thread takes to begin.
_LITTLE_BYTES = 128 << 10


class Witness:
    """
    See the module.

    Attributes:
        doubtful: The first transaction that was shipped and is not in the database; None if
            none is known.
        since_ms: Since when a commit is looked for that somebody has left unfinished.
    """

    def __init__(
        self, name: str, database: Path, fleet: Fleet, on_news: Callable[[], None]
    ) -> None:
        self.doubtful: int | None = None
        self.since_ms: int | None = None
        self._name, self._database = name, database
        self._fleet, self._on_news = fleet, on_news
        self._meta: Path | None = None
        self._seen = 0
        self._newest: Shipped | None = None
        self._looking: asyncio.Task[None] | None = None

    def look(self, meta: Path, txid: int) -> None:
        """
        Begin to compare what is new.

        Args:
            meta: Where Litestream keeps its files of the epoch.
            txid: The last transaction in them.
        """
        if meta != self._meta:
            self.forget()
            # What was there before may have left the log since.
            self._meta, self._seen = meta, txid
        if self._looking is not None and not self._looking.done():
            return
        if self._newest is None or self._newest.txid != txid:
            self._newest = read_shipped(meta, txid) if txid else None
        if self._newest is not None and self._is_behind():
            self._seen = min(self._seen, txid - 1)
        if self._seen < txid:
            first = max(self._seen + 1, txid - _FILES_MAX + 1)
            self._looking = asyncio.ensure_future(self._compare(meta, first, txid))

    async def vouch(self, meta: Path, txid: int) -> None:
        """
        Return once all up to *txid* that was shipped is known to be in the database.

        Raises:
            Unavailable: It is not, or that cannot be told now.
        """
        until_ms = self._fleet.clock.elapsed_ms() + _VOUCHED_MS
        while meta == self._meta and self.doubtful is None:
            if self._seen >= txid or self._is_sound_at_once(meta, txid):
                return
            self.look(meta, txid)
            if self._looking is not None:
                await asyncio.wait({self._looking})
            if self._seen < txid:
                if self._fleet.clock.elapsed_ms() >= until_ms:
                    break
                await asyncio.sleep(_AGAIN_S)
        raise Unavailable("it is not known yet whether what was shipped is in the database")

    def _is_sound_at_once(self, meta: Path, txid: int) -> bool:
        is_busy = self._looking is not None and not self._looking.done()
        if is_busy or txid - self._seen > _FILES_MAX:
            return False
        new = range(self._seen + 1, txid + 1)
        with suppress(OSError):  # no longer kept: that takes a look at leisure
            if sum(level0_file(meta, one).stat().st_size for one in new) <= _LITTLE_BYTES:
                found, _ = self._first_unlike(meta, new[0], txid)
                self._seen = txid if found is Likeness.SAME else self._seen
        return self._seen >= txid

    def forget(self) -> None:
        """Begin anew: there is no epoch, or another one."""
        if self._looking is not None:
            self._looking.cancel()
        self._meta = self._newest = self._looking = self.doubtful = self.since_ms = None

    def _is_behind(self) -> bool:
        published = read_published(self._database)
        return bool(published and self._newest and is_unfinished(self._newest, published))

    async def _compare(self, meta: Path, first: int, last: int) -> None:
        found, txid = await asyncio.to_thread(self._first_unlike, meta, first, last)
        if found is Likeness.SAME:
            self._seen = txid
            return  # no news: a fleet that is written all the time would look twice as often
        if found is not None:
            found = await self._wait(meta, txid)
        if found is Likeness.UNFINISHED:
            found = await self._finish(meta, txid)
            if found is Likeness.SAME:
                self._fleet.log.warning("commit_found", database=self._name, txid=txid)
        if found is Likeness.DIFFERENT:
            self.doubtful = txid
            self._fleet.log.warning("commit_lost", database=self._name, txid=txid)
        self._seen = txid if found is Likeness.SAME else txid - 1
        if found is None:
            await asyncio.sleep(_AGAIN_S)  # the news is that it is to be looked at again
        self._on_news()

    def _first_unlike(self, meta: Path, first: int, last: int) -> tuple[Likeness | None, int]:
        found: Likeness | None = None
        for txid in range(first, last + 1):
            found = compare(self._database, meta, txid)
            if found is not Likeness.SAME:
                return found, txid
        return found, last

    async def _wait(self, meta: Path, txid: int) -> Likeness | None:
        """Give whoever is at work on it the time to finish."""
        until_ms = self._fleet.clock.elapsed_ms() + round(_PATIENCE_S * 1000)
        while True:
            await asyncio.sleep(_AGAIN_S)
            found = await asyncio.to_thread(compare, self._database, meta, txid)
            if found is Likeness.SAME or self._fleet.clock.elapsed_ms() >= until_ms:
                return found

    async def _finish(self, meta: Path, txid: int) -> Likeness | None:
        """Let SQLite find a commit that nobody is at work on any more."""
        self.since_ms = self._fleet.clock.elapsed_ms()
        try:
            # Whoever holds the write lock may be at work on it: then it is asked again.
            with suppress(OpsError):
                look = partial(find_overlooked_commit, self._database, leaves_note=False)
                if await asyncio.to_thread(look):
                    found = await asyncio.to_thread(compare, self._database, meta, txid)
                    # It was not there to be found: another one was written over it.
                    return Likeness.DIFFERENT if found is Likeness.UNFINISHED else found
            return None
        finally:
            self.since_ms = None
