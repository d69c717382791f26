"""
Claims tasks of the queues that are served here, makes their attempts, says what came of them.

As many are claimed as there are free places, when a worker is told that there are some, when a
place becomes free, and now and then. What an attempt came to is said as often as it takes;
the table drops what is no longer wanted of this worker. Claims and outcomes that wait are one
round, so that many at the same time cost little more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Raw, Struct

from obelisk_ops.core import failures
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.polling import MANY
from obelisk_ops.core.ports import Write
from obelisk_ops.core.rows import TaskKey, TaskRow
from obelisk_ops.core.tasks import NOTHING, Claim, Counter, Manner, Outcome, Wish
from obelisk_ops.durable.commits import as_ops_error
from obelisk_ops.durable.flow.attempt import Attempt, Key
from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.options import ActivityOptions
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.limits import Limits
from obelisk_ops.durable.mailroom import DEAF, ServerBell
from obelisk_ops.durable.work.waiting import Opening
from obelisk_ops.durable.work.workshop import Workshop
from obelisk_ops.errors import OpsError, StorageUnavailable
from obelisk_ops.storage import Place, open_counter

#: a share, where places are many: other workers have free ones, too
_CLAIMS_MAX = 100
_AGAIN_S = 0.25
#: how often at most a rate that lets in no more is asked
_RATE_S = 0.02
#: a word that was not heard costs so much; a lease is six times as long
_LOOK_S = 4.5


class Job(Struct, eq=False):
    """
    One claimed task, until its outcome is said.

    Attributes:
        task: What is to be done.
        key: Of its execution; see ``workshop.Caller``.
        begun_ms: When its code began, by the clock that only moves forward; 0: not yet.
    """

    task: TaskRow
    key: int
    function: Activity[Any, Any]
    begun_ms: int = 0


class Claiming:
    """See the module. Used by the loop's thread."""

    def __init__(
        self, place: Place, workshop: Workshop, clock: Clock, registry: Registry,
        limits: Limits, *, failed: Callable[[OpsError], object],
    ) -> None:  # fmt: skip
        """
        Begin to claim.

        Args:
            place: The schema whose tasks are claimed.
            workshop: Where their attempts are made.
            clock: For how long they run.
            registry: Whose code is here.
            limits: Which queues are served, and how long the server may be away.
            failed: Told why nothing can be claimed any more.

        Raises:
            StorageUnavailable: The server does not answer.
        """
        self._queues = frozenset(queue.name for queue in limits.bench.queues)
        self._counter: Counter = open_counter(place, self._queues)
        self._workshop, self._clock = workshop, clock
        self._activities, self._failed = registry.activities, failed
        self._rated = {one.name: one for one in limits.bench.queues if one.rate is not None}
        self._patience_ms = limits.storage_timeout_s * 1000
        self._bell = ServerBell(place, self._hears)
        self._bell.pulse = self._pulse
        self._done = 0  # how many were claimed, or have an outcome
        self._has_fellows = False  # who serve the same queues
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[Key, Job] = {}
        self._variants: dict[tuple[str, str, str, int], Activity[Any, Any]] = {}
        self._said: dict[TaskKey, str] = {}  # outcomes that are not at the counter yet
        self._besides = Write(0, [])  # what was printed, and heartbeats
        self._next: asyncio.Handle | None = None
        self._timer: asyncio.Handle
        self._stalled_since: int | None = None
        self._is_told = True  # whether something may not be wanted any more
        self._is_unsure = False  # whether an answer was lost, and with it what was claimed
        self._is_closing = self._is_closed = False
        workshop.elsewhere.freed = self.wake
        self._timer = self._loop.call_soon(self._tick)

    def _rung(self, said: Sequence[str]) -> None:
        self._is_told |= DEAF in said
        self.wake()

    def wake(self) -> None:
        """Look soon for what is to be done; who has closed looks no more, whatever comes."""
        if self._next is None and not self._is_closed:
            self._next = self._loop.call_soon(self._go)

    def begin(self, job: Job, n: int) -> None:
        """Make the attempt of a task, now or when there is a place for it."""
        task = job.task
        if self._jobs.get((job.key, n)) is not job:
            return  # it is not wanted any more
        if not self._workshop.enter(job.function, (job.key, n)):
            self._workshop.wait(job, n, job.function, self.begin)
            return
        job.begun_ms = max(1, self._clock.elapsed_ms())
        given = task.input.encode()
        self._workshop.start(
            Attempt(
                (job.key, n), task.attempt, task.id, job.function, given, on_end=self._ended
            )
        )

    def beat(self, write: Write) -> None:
        """Say that attempts live; what is not heard now is said again."""
        self._besides.beats = [*self._besides.beats, *write.beats]
        self.wake()

    def stop(self) -> None:
        """Claim nothing more; what comes of what was claimed is still said."""
        self._is_closing = True

    def close(self) -> None:
        """Say what came of all that was claimed; what has not begun is left to others."""
        self._is_closing = self._is_closed = True
        self._timer.cancel()
        self._bell.take_down()
        if self._next is not None:
            self._next.cancel()
        try:
            waiting = [job.task.key for job in self._jobs.values() if not job.begun_ms]
            if waiting:
                self._counter.release(waiting)
            for job in self._jobs.values():
                if job.begun_ms:
                    self._said[job.task.key] = _written(Outcome(ran_ms=self._ran_ms(job)))
            self._exchange(is_any=False)
        except OpsError:
            pass  # it is seen that this worker is no more
        self._jobs.clear()  # what comes of threads that run on nobody waits for
        self._counter.close()

    # -- a round -----------------------------------------------------------------------

    def _hears(self, word: str) -> bool:
        """Tell whether what the server says is for this worker; see ``storage.listen``."""
        what, _, whom = word.partition(" ")
        is_mine = what == "worker" and whom == str(self._counter.worker)
        self._is_told |= is_mine
        return is_mine or (what == "queue" and whom in self._queues)

    def _pulse(self) -> tuple[int, int]:
        """See Pulse. How many others there are is not known, but that they are several."""
        return self._done, MANY if self._has_fellows else 1

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._tick)
        self._is_told = True
        self.wake()

    def _go(self) -> None:
        self._next = None
        try:
            is_any = not self._is_closing and self._hear()
            claims, is_more = self._exchange(is_any=is_any)
        except StorageUnavailable as error:
            self._is_unsure = True
            self._wait_or_fail(error)
        except Exception as error:  # noqa: BLE001 - nobody else would see it
            self._failed(as_ops_error(error))
        else:
            self._stalled_since = None
            self._bell.hang(self._rung)
            self._take(claims)
            if is_more:
                self.wake()

    def _wait_or_fail(self, error: StorageUnavailable) -> None:
        now_ms = self._clock.elapsed_ms()
        if self._stalled_since is None:
            self._stalled_since = now_ms
        if now_ms - self._stalled_since > self._patience_ms:
            self._failed(error)
        elif self._next is None:
            self._next = self._loop.call_later(_AGAIN_S, self._go)

    def _hear(self) -> bool:
        """Learn what is not wanted any more, or was claimed; whether there may be more."""
        is_any = True
        if self._is_told:
            news = self._counter.news(self._activities().keys())
            self._is_told, is_any = False, news.is_any
            self._has_fellows = bool(news.others & self._queues)
            # Claimed by a question whose answer was lost, and that came late.
            self._is_unsure |= not news.wanted <= self._known()
            self._workshop.elsewhere.overflow = news.others & self._queues - self._rated.keys()
            self._drop([job for job in self._jobs.values() if job.task.key not in news.wanted])
        if self._is_unsure:
            known = self._known()
            self._take([one for one in self._counter.claims() if one.task.key not in known])
            self._is_unsure = False
        return is_any

    def _exchange(self, *, is_any: bool) -> tuple[list[Claim], bool]:
        """Say what came of tasks, and claim others: return them, and whether there are more."""
        said, besides = list(self._said.items()), self._besides
        wishes = [self._wish(opening) for opening in self._workshop.openings() if is_any]
        claims: list[Claim] = []
        is_more = False
        if said:
            # One sync for both: places are empty for as long as that takes.
            is_plain = bool(wishes) and wishes[0].queue not in self._rated
            wish = wishes.pop(0) if is_plain else NOTHING
            claims += self._counter.finish(said, besides.outputs, besides.beats, wish)
            is_more = 0 < len(claims) == wish.room
        elif besides.beats:
            self._counter.beat(besides.beats)
        for key, _ in said:
            del self._said[key]
        self._besides = Write(0, [])
        for wish in wishes:
            # Those claimed just now have not taken their places yet, which queues may share.
            room = max(0, wish.room - len(claims))
            found = self._claim(wish._replace(room=room))
            is_more = is_more or (wish.room > 0 and len(found) == room)
            claims += found
        return claims, is_more

    def _wish(self, opening: Opening) -> Wish:
        names = [
            name for name, function in self._activities().items()
            if opening.is_async in (None, function.is_async)
        ]  # fmt: skip
        return Wish(opening.queue, names, min(opening.room, _CLAIMS_MAX) if names else 0)

    def _claim(self, wish: Wish) -> list[Claim]:
        if not wish.room:
            return []
        rated = self._rated.get(wish.queue)
        if rated is None or rated.rate is None:
            return self._counter.claim(*wish)
        claims, is_held_back = self._counter.claim_at_rate(*wish, rated.rate, rated.per_ms)
        if is_held_back:
            wait_s = min(max(rated.per_ms / rated.rate / 1000, _RATE_S), _LOOK_S)
            self._loop.call_later(wait_s, self.wake)
        return claims

    def _known(self) -> set[TaskKey]:
        return {job.task.key for job in self._jobs.values()} | self._said.keys()

    def _drop(self, jobs: list[Job]) -> None:
        for job in jobs:
            key = (job.key, job.task.n)
            del self._jobs[key]
            self._workshop.forget(key)
            self._workshop.abandon(key)

    def _take(self, claims: list[Claim]) -> None:
        self._done += len(claims)
        for claim in claims:
            task = claim.task
            key = (task.execution, task.n)
            try:
                function = self._variant(task)
            except OpsError as error:  # this code and that of the owner contradict each other
                self._said[task.key] = _written(Outcome(error=failures.record(error)))
                self.wake()
                continue
            job = self._jobs[key] = Job(task, task.execution, function)
            if claim.details is not None:
                self._workshop.remember(key, claim.details.encode())
            self.begin(job, task.n)

    def _variant(self, task: TaskRow) -> Activity[Any, Any]:
        """Return the activity as the owner of the task wants it run."""
        known = self._activities()[task.function]
        which = (task.function, task.manner, task.queue, task.priority)
        found = self._variants.get(which)
        if found is None or found.function is not known.function:
            found = self._variants[which] = in_the_manner_of(task, known)
        return found

    def _ended(
        self, attempt: Attempt, result: bytes | None, error: BaseException | None
    ) -> None:
        key = attempt.key
        job = self._jobs.pop(key, None)
        if job is None:
            return
        self._workshop.ended(attempt, self._besides, is_open=True)
        self._workshop.forget(key)
        outcome = Outcome(ran_ms=self._ran_ms(job))
        if error is not None:
            outcome.error = failures.record(error)
        elif result is not None:
            outcome.ok = Raw(result)
        if attempt.details is not None:
            outcome.details = Raw(attempt.details)
        self._said[job.task.key] = _written(outcome)
        self._done += 1
        self.wake()

    def _ran_ms(self, job: Job) -> int:
        return max(0, self._clock.elapsed_ms() - job.begun_ms)


def in_the_manner_of(task: TaskRow, known: Activity[Any, Any]) -> Activity[Any, Any]:
    """
    Return an activity that is run as its owner wants it, with the code that is here.

    Raises:
        InvalidInput: That is not possible with this code.
    """
    manner = msgspec.json.decode(task.manner, type=Manner)
    options = ActivityOptions(
        queue=task.queue, priority=task.priority, at_most_once=manner.at_most_once,
        overlap=manner.overlap, isolation=manner.isolation,
        timeout=_span(manner.timeout_ms), heartbeat_timeout=_span(manner.silence_ms),
    )  # fmt: skip
    other: Activity[Any, Any] = Activity(known.function, known.name, options)
    other.codec = known.codec
    return other


def _span(length_ms: int) -> timedelta | None:
    return timedelta(milliseconds=length_ms) if length_ms else None


def _written(outcome: Outcome) -> str:
    return msgspec.json.encode(outcome).decode()
