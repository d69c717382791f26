"""
Follows one database in one epoch: what is on this disk, and what is in the bucket.

The bucket is listed when there is something to find, and else just often enough to know
that it still answers, and that what it held is still there: a database at rest costs about
one request a minute.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from obelisk_ops.errors import OpsError, StorageUnavailable
from obelisk_ops.litestream.local import newest_txid
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.catalogue import LtxFile
from obelisk_ops.replica.chain import Chain, examine, read_files
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.supervise.cost import Account
from obelisk_ops.supervise.custody import Custody, Missing, missing_from, rest_ms
from obelisk_ops.supervise.fleet import Fleet
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.intruders import Foreign, Sentry
from obelisk_ops.supervise.lag import Arrivals, Lag
from obelisk_ops.supervise.ledger import Intrusion, Ledger, Loss
from obelisk_ops.supervise.position import Local, LocalReader, Remote, read_remote, remote_of
from obelisk_ops.supervise.scout import Scout

T = TypeVar("T")

#: Somebody has to have heard of the bucket so lately, or one of the fleet asks it.
QUIET_MS = 12_000
#: An upload follows a new local transaction by about this much.
_UPLOAD_MS = 200
_BLANK_MS = 30_000  # nothing was ever seen, here or there
_PENDING_MIN_MS, _PENDING_MAX_MS = 500, 2_000
#: Litestream's complaint about a compaction makes us look, and look again after so long.
_COMPLAINT_MS = 10_000


def pending_pause_ms(sync_interval_ms: int) -> int:
    """Return the least time between two listings of a database that is being written."""
    return min(max(sync_interval_ms * 9 // 10, _PENDING_MIN_MS), _PENDING_MAX_MS)


class Tracker:
    """
    The positions of one database in one epoch.

    Attributes:
        local: What is on this disk; None before the first look.
        remote: What is in the bucket by our own listing; None before the first answer.
        scout: What was asked besides.
        chain: What a restore of the newest state needs; None before the first look at it.
        loss: What is surely gone from the bucket; None if nothing is.
        intrusion: What somebody else has written into the epoch; None if nothing is known.
        has_snapshot: Whether the bucket holds a full copy; None if that is not known.
        custody: What is missing there, or was not found.
        ledger: What the bucket was once seen to hold.
        account: What it costs.
    """

    def __init__(
        self,
        path: Path,
        keys: ReplicaKeys,
        *,
        meta: Path,
        ledger: Ledger,
        fleet: Fleet,
        on_news: Callable[[], None],
    ) -> None:
        self.local: Local | None = None
        self.remote: Remote | None = None
        self.chain: Chain | None = None
        self.loss: Loss | None = None
        self.intrusion: Intrusion | None = None
        self.has_snapshot: bool | None = None
        self.ledger = ledger
        self.account = Account(fleet.bucket.meter)
        self.custody = Custody()
        self._chain_ms = 0
        self._keys, self._epoch, self._meta = keys, ledger.epoch, meta
        self._bucket, self._clock, self._fleet = fleet.bucket, fleet.clock, fleet
        self._on_news = on_news
        # Not all of a fleet at the same moment, for ever.
        spread = zlib.crc32(keys.name.encode()) % 100 / 1_000
        self._idle_ms = round(fleet.litestream.list_interval_s * 1000 * (1 - spread))
        self._reader = LocalReader(path, meta)
        self._sentry = Sentry(meta)
        self._lag = Lag()
        self._looked_ms = self._moved_ms = self._clock.elapsed_ms()
        self._underway_ms = self._moved_ms  # since when what is not listed yet is on its way
        self._listed_ms: int | None = None
        self._arrivals = Arrivals()
        self.scout = Scout(keys, ledger.epoch, clock=fleet.clock, call=self._call)
        self._asking: asyncio.Task[None] | None = None

    @property
    def oldest_ms(self) -> int | None:
        """Since when the oldest change waits that is not proven to be in the bucket."""
        return self._lag.oldest_ms

    @property
    def proven_ms(self) -> int | None:
        """
        When the request began that the present verdict rests on.

        What was once listed stays there; so while nothing changes here, an answer
        that the bucket gave to anybody of the fleet is as good as a listing of ours,
        until it is time to look at our own objects again.
        """
        if self._listed_ms is None:
            return None
        others_ms = self._bucket.answered_ms or 0
        return max(self._listed_ms, min(others_ms, self._listed_ms + 2 * self._idle_ms))

    @property
    def missing(self) -> Problem | None:
        """What was in the bucket and is not, or is not listed."""
        return self.custody.problem()

    @property
    def waiting_bytes(self) -> int:
        """How much is on this disk that is not in the bucket, as files to be shipped."""
        if self.local is None or self.remote is None or self.oldest_ms is None:
            return 0
        return self._reader.size_of(self.remote.txid + 1, self.local.txid)

    @property
    def undeleted(self) -> int:
        """How many objects should have been deleted long ago, and were listed."""
        if self.chain is None or not self._fleet.retention.may_delete():
            return 0
        litestream = self._fleet.litestream
        # It looks for them now and then; by the bucket's clock, which may differ from ours.
        patience_s = litestream.l0_retention_s + 3 * litestream.l0_check_s
        return self.chain.superfluous(self._clock.now_ms() - round(patience_s * 1000))

    @property
    def arriving(self) -> int | None:
        """How many bytes a second arrive in the bucket; None if nothing did of late."""
        since_ms = self._underway_ms if self._is_pending() else None
        return self._arrivals.rate(self._clock.elapsed_ms(), since_ms=since_ms)

    @property
    def is_settled(self) -> bool:
        """Tell whether everything that is on this disk is in the bucket, by our own listing."""
        local, remote = self.local, self.remote
        if local is None or remote is None or not local.txid or local.tail is None:
            return False
        if self.custody.missing is not None or self.intrusion is not None:
            return False
        # More in the bucket than here is another history, and proves nothing of this one.
        return remote.txid == local.txid and not local.tail.size and self.oldest_ms is None

    def needs_look(self) -> bool:
        """Tell whether something may have changed on this disk."""
        changed = self._reader.has_changed()
        local = self.local
        return changed or local is None or local.tail is None or not self.is_settled

    def saw_nothing_new(self) -> None:
        """Note that a look at the files showed no change: what comes next is younger."""
        self._looked_ms = self._clock.elapsed_ms()

    def saw(self, txid: int) -> None:
        """Note what Litestream says is the last transaction in its own files."""
        # It says 0 while it opens the file, and what it said may be older than the last
        # listing; its files know better.
        if txid < max(self.remote.txid if self.remote else 0, 1):
            txid = max(txid, newest_txid(self._meta))
        local = self._reader.read(txid)
        now_ms = self._clock.elapsed_ms()
        if not self._is_pending() and (self.local is None or local.txid != self.local.txid):
            self._moved_ms = self._underway_ms = now_ms
        self.local = local
        self.account.sample(now_ms, local.txid)
        if self.remote is not None:
            self._note_local(local, since_ms=self._looked_ms)
        self._looked_ms = now_ms

    def ask_bucket(self) -> None:
        """Begin to list the bucket, if it is time to."""
        if self._asking is not None and not self._asking.done():
            return
        if self.is_due():
            self._asking = asyncio.ensure_future(self._ask())
        elif self.ledger.is_due(self._clock.elapsed_ms()):
            self._asking = asyncio.ensure_future(self._save())

    async def ask_now(self, *, whole: bool = False) -> None:
        """
        List the bucket and wait for the answer.

        Args:
            whole: Whether the chain is to be looked at in any case.

        Raises:
            OpsError: It does not answer.
        """
        began_ms = self._clock.elapsed_ms()
        known = max(self.remote or Remote(), self.ledger.acknowledged, key=lambda r: r.txid)
        alarms = self.custody.alarms
        if whole or self._wants_chain(began_ms):
            chain, foreign = await self._call(self._see_chain)
            remote = remote_of(chain)
            missing = missing_from(chain, acknowledged=max(known.txid, self.custody.promised))
            if missing is None and (self.chain is not None or chain.has_snapshot):
                # At the first look the one that Litestream begins with may be on its way.
                self.has_snapshot = chain.has_snapshot
            self.chain, self._chain_ms, self.custody.answered = chain, began_ms, alarms
        else:
            remote, foreign = await self._call(lambda store: self._see_remote(store, known))
            is_short = remote.txid < known.txid
            missing = Missing(first=remote.txid + 1, last=known.txid) if is_short else None
        if foreign is not None:
            self._listed_ms = began_ms
            self._intruded(foreign)
            return  # what is listed now proves nothing of this history
        self.custody.note(missing, now_ms=self._clock.elapsed_ms())
        if missing is None:
            self._listed_ms = began_ms
            self._note_remote(remote)
        elif self.custody.is_certain:
            self._lose(missing)

    def heard(self, words: str) -> None:
        """Note what Litestream complains about: of a compaction that does not fit, we look."""
        is_old = self._clock.elapsed_ms() - self._chain_ms >= _COMPLAINT_MS
        is_news = is_old and not self.custody.is_alarmed
        if "compaction" in words.lower() and is_news and self.remote is not None:
            self.custody.alarm()

    def save(self) -> None:
        """Bring to disk what was seen in the bucket; without room it is not there."""
        with suppress(StorageUnavailable):
            self.ledger.write(self._clock.elapsed_ms())

    def close(self) -> None:
        """Stop waiting for answers."""
        if self._asking:
            self._asking.cancel()

    def is_due(self) -> bool:
        """Tell whether it is time to list the bucket."""
        now_ms = self._clock.elapsed_ms()
        if not self._bucket.is_ready() or self._bucket.is_crowded:
            return False
        if self.custody.missing is not None:
            return self.custody.is_due(now_ms)
        if self._bucket.problem or self.custody.is_alarmed:
            return True
        return self._is_worth_a_look(now_ms)

    def _is_worth_a_look(self, now_ms: int) -> bool:
        if self.remote is None or self._listed_ms is None:
            seen = self.ledger.acknowledged.txid or (self.local.txid if self.local else 0)
            return bool(seen) or now_ms - self._moved_ms >= _BLANK_MS
        if self._is_pending():
            pause_ms = pending_pause_ms(self._fleet.sync_interval_ms)
            return now_ms >= max(self._listed_ms + pause_ms, self._moved_ms + _UPLOAD_MS)
        return now_ms - self._listed_ms >= self._idle_ms or self._bucket.is_quiet(QUIET_MS)

    def _is_pending(self) -> bool:
        """Tell whether something was shipped that no listing has shown yet."""
        local, remote = self.local, self.remote
        return local is not None and remote is not None and local.txid > remote.txid

    def _wants_chain(self, now_ms: int) -> bool:
        custody = self.custody
        if self.chain is None or custody.is_alarmed or custody.missing is not None:
            return True
        pause_ms = rest_ms(
            self.chain, list_interval_ms=self._idle_ms, is_busy=not self.is_settled
        )
        return now_ms - self._chain_ms >= pause_ms

    async def _ask(self) -> None:
        try:
            await self.ask_now()
            await self._look_around()
            # At rest nothing else moves: what that costs is counted from look to look.
            self.account.sample(self._clock.elapsed_ms(), self._said)
        except OpsError:
            # The bucket keeps what is wrong with it; the verdict takes it from there.
            return
        finally:
            self._on_news()
        await self._save()

    async def _look_around(self) -> None:
        await self.scout.look_for_successor()
        if self.remote is not None and self.remote.txid and not self._bucket.is_busy:
            await self.scout.look_at_window(self.chain)  # nobody has to wait for this
        await self.scout.try_to_write(
            self.oldest_ms, sync_interval_ms=self._fleet.sync_interval_ms
        )

    async def _save(self) -> None:
        now_ms = self._clock.elapsed_ms()
        if not self.ledger.is_due(now_ms):
            return
        try:
            await asyncio.to_thread(self.ledger.write, now_ms)
        except StorageUnavailable as error:
            # A full disk is no reason to stop looking; it is tried again.
            self._fleet.log.warning("ledger", database=self._keys.name, error=error.message)

    def _call(
        self, request: Callable[[ObjectStore], T], *, is_write: bool = False
    ) -> Awaitable[T]:
        return self._bucket.call(request, is_write=is_write, meter=self.account.meter)

    def _see_chain(self, store: ObjectStore) -> tuple[Chain, Foreign | None]:
        files, is_small = read_files(store, self._keys, self._epoch)
        foreign = self._sentry.look(files, store, is_whole=True, said=self._said)
        return examine(files, is_small=is_small), foreign

    def _see_remote(self, store: ObjectStore, known: Remote) -> tuple[Remote, Foreign | None]:
        files: list[LtxFile] = []
        remote = read_remote(store, self._keys, self._epoch, known, saw=files.append)
        return remote, self._sentry.look(files, store, is_whole=False, said=self._said)

    @property
    def _said(self) -> int:
        return self.local.txid if self.local else 0

    def _intruded(self, foreign: Foreign) -> None:
        if self.intrusion is None:
            self.intrusion = Intrusion(
                epoch=self._epoch,
                first=foreign.first,
                why=foreign.why,
                at_ms=self._clock.now_ms(),
            )
            self.ledger.note_intrusion(self.intrusion)
            self.save()  # now: the epoch is about to end, and this with it

    def _note_local(self, local: Local, *, since_ms: int) -> None:
        has_tail = local.tail is not None and local.tail.size > 0
        if local.txid:
            self._lag.saw_local(local.txid, has_tail=has_tail, since_ms=since_ms)

    def _note_remote(self, remote: Remote) -> None:
        is_first = self.remote is None
        if self.remote is not None and self.remote.txid < remote.txid:
            size = self._reader.size_of(self.remote.txid + 1, remote.txid)
            since_ms = self._underway_ms if self._is_pending() else self._looked_ms
            self._arrivals.note(size, since_ms=since_ms, until_ms=self._clock.elapsed_ms())
        self.remote = remote
        self.ledger.note(remote)
        self._lag.saw_replica(remote.txid)
        if is_first and self.local is not None:
            self._note_local(self.local, since_ms=self._captured_ms(remote.txid + 1))
        if self.local is not None and self.local.txid < remote.txid:
            # What was shipped since the last look is in a file here, if it is of this history.
            self.saw(self.local.txid)
        if self._is_pending():
            # What is on its way gets its time anew: not each transaction, or a database that
            # is written all the time would never be listed.
            self._moved_ms = self._clock.elapsed_ms()
            self._underway_ms = self._listed_ms or self._moved_ms

    def _lose(self, missing: Missing) -> None:
        """Take for granted that *missing* is gone: what can be restored ends before it."""
        self.remote = Remote(txid=missing.first - 1)
        self._lag.lost_replica(self.remote.txid, since_ms=self._clock.elapsed_ms())
        if self.loss is None:
            self.loss = Loss(
                epoch=self._epoch,
                first=missing.first,
                last=missing.last,
                at_ms=self._clock.now_ms(),
            )
            self.ledger.note_loss(self.loss)

    def _captured_ms(self, txid: int) -> int:
        """Return when a transaction was captured, as far as its file tells, on our clock."""
        at_ms = self._reader.captured_ms(txid) or (self.local.at_ms if self.local else None)
        now_ms = self._clock.elapsed_ms()
        return now_ms - max(0, self._clock.now_ms() - at_ms) if at_ms else now_ms
