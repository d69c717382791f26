"""
The bucket as the whole fleet sees it: one connection, one judgement on whether it answers.

While it does not, one request at a time finds out when it does again; a hundred
databases do not queue up behind a hundred timeouts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

from obelisk_ops.core.clock import Clock
from obelisk_ops.errors import (
    CredentialsError,
    DamagedObject,
    Fenced,
    ObjectNotFound,
    OpsError,
    PreconditionFailed,
    S3Unavailable,
)
from obelisk_ops.objectstore import Fetched, Inquiry, ObjectStore
from obelisk_ops.objectstore.hearing import HEARD, Heard
from obelisk_ops.objectstore.meter import METER, Meter
from obelisk_ops.supervise.health import Problem
from obelisk_ops.supervise.skew import Time, time_of
from obelisk_ops.supervise.threads import started_pool

T = TypeVar("T")

#: How long one request may take: an outage has to be known well before a proof gets too old.
TIMEOUT_S = 3.0

_AT_ONCE = 4
_URGENT_AT_ONCE = 2
#: Under way or waiting: behind so many, what can be asked a little later is not asked.
_CROWD = 2 * _AT_ONCE
_RETRY_MS = 1_000
_RETRY_LATER_MS = 5_000
_SOON_MS = 60_000

#: Answers about one object: the bucket is there and the credentials are good.
_ANSWERS = (ObjectNotFound, PreconditionFailed, DamagedObject, Fenced)


class Bucket:
    """
    One replica's bucket.

    Attributes:
        problem: What is wrong with it now, for everybody.
        answered_ms: When the request began that it last answered.
        time: What time it has, as it last told.
        meter: Counts all requests that are sent.
        answers_ms: How long the last ones that read something took.
    """

    def __init__(self, open_store: Callable[[], ObjectStore], clock: Clock) -> None:
        self._open_store = open_store
        self._clock = clock
        self._store: ObjectStore | None = None
        self._slots = asyncio.Semaphore(_AT_ONCE)
        # A lease is renewed also while a thousand databases stand in line.
        self._urgent = ThreadPoolExecutor(_URGENT_AT_ONCE, thread_name_prefix="urgent")
        self._in_flight = 0
        self._tried_ms: int | None = None
        self.problem: Problem | None = None
        self.answered_ms: int | None = None
        self.time: Time | None = None
        self.meter = Meter()
        self.answers_ms: deque[int] = deque(maxlen=9)

    def is_ready(self) -> bool:
        """Tell whether a request should be made now; after a failure one at a time."""
        if self.problem is None or self._tried_ms is None:
            return True
        now_ms = self._clock.elapsed_ms()
        is_young = now_ms - self.problem.since_ms < _SOON_MS
        rest_ms = _RETRY_MS if is_young else _RETRY_LATER_MS
        return self._in_flight == 0 and now_ms - self._tried_ms >= rest_ms

    def start_threads(self) -> None:
        """
        Have the threads that a lease is renewed by from now on.

        Raises:
            TooManyProcesses: The system starts no more threads.
        """
        self._urgent = started_pool(_URGENT_AT_ONCE, "urgent")

    @property
    def is_known(self) -> bool:
        """Tell whether it has answered, or not, at least once."""
        return self.answered_ms is not None or self.problem is not None

    @property
    def is_busy(self) -> bool:
        """Tell whether others may be waiting for their turn."""
        return self._in_flight >= _AT_ONCE

    @property
    def is_crowded(self) -> bool:
        """Tell whether so many requests wait for each other that one more helps nobody."""
        return self._in_flight >= _CROWD

    def is_quiet(self, for_ms: int) -> bool:
        """Tell whether it has not answered for so long, and nobody is asking it now."""
        if self._in_flight:
            return False
        return self.answered_ms is None or self._clock.elapsed_ms() - self.answered_ms >= for_ms

    @property
    def answer_ms(self) -> int | None:
        """How long it takes to answer, by the middle of the last times; None if not known."""
        return sorted(self.answers_ms)[len(self.answers_ms) // 2] if self.answers_ms else None

    def reconnect(self, open_store: Callable[[], ObjectStore] | None = None) -> None:
        """Read the credentials again with the next request, if need be from another place."""
        self._open_store = open_store or self._open_store
        self._store = None

    async def call(
        self,
        request: Callable[[ObjectStore], T],
        *,
        is_write: bool = False,
        is_urgent: bool = False,
        meter: Meter | None = None,
    ) -> T:
        """
        Make one request in a thread.

        Args:
            request: What to do with the store.
            is_write: Whether its refusal says nothing about reading.
            is_urgent: Whether it passes by all who wait for their turn.
            meter: Counts what is sent, if it is for somebody.

        Raises:
            OpsError: What the object store says; also kept as ``problem`` if it
                concerns everybody.
        """
        run = partial(
            asyncio.get_running_loop().run_in_executor,
            self._urgent if is_urgent else None,
            self._request, request, meter or self.meter,
        )  # fmt: skip
        with self._flying():
            async with nullcontext() if is_urgent else self._slots:
                return await self._judged(run, is_write=is_write)

    async def look(self, key: str) -> Fetched | None:
        """
        Read a small object, passing by all who wait; None if there is none.

        It is asked for from here where that takes no waiting: to hand a request to a thread,
        and its answer back, takes as long as a server next door does.

        Raises:
            OpsError: As for ``call``.
        """
        with self._heard(self.meter):
            asked = self._store.ask(key) if self._store is not None else None
            if asked is not None:
                # What is not plainly answered is asked again by who understands it.
                with suppress(OSError, ValueError), closing(asked), self._flying():
                    return await self._judged(partial(_read, asked))
        with suppress(ObjectNotFound):
            return await self.call(lambda store: store.look(key), is_urgent=True)
        return None

    async def _judged(self, ask: Callable[[], Awaitable[T]], *, is_write: bool = False) -> T:
        began_ms = self._tried_ms = self._clock.elapsed_ms()
        try:
            found = await ask()
        except OpsError as error:
            kinds = (*_ANSWERS, CredentialsError) if is_write else _ANSWERS
            if isinstance(error, kinds):
                self._answered(began_ms)
            else:
                self._failed(error, began_ms)
            raise
        self._answered(began_ms)
        if not is_write:
            self.answers_ms.append(self._clock.elapsed_ms() - began_ms)
        return found

    def _request(self, request: Callable[[ObjectStore], T], meter: Meter) -> T:
        with self._heard(meter):
            if self._store is None:
                self._store = self._open_store()
            return request(self._store)

    @contextmanager
    def _flying(self) -> Iterator[None]:
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def _heard(self, meter: Meter) -> Iterator[None]:
        """Count what is sent meanwhile, and take note of the time that is told."""
        heard, began_ms = Heard(), self._clock.elapsed_ms()
        counting, hearing = METER.set(meter), HEARD.set(heard)
        try:
            yield
        finally:
            METER.reset(counting)
            HEARD.reset(hearing)
            if heard.at_ms is not None:
                ended_ms = self._clock.elapsed_ms()
                self.time = time_of(heard.at_ms, began_ms=began_ms, ended_ms=ended_ms)

    def _answered(self, began_ms: int) -> None:
        self.problem = None
        self.answered_ms = max(began_ms, self.answered_ms or 0)

    def _failed(self, error: OpsError, began_ms: int) -> None:
        if isinstance(error, CredentialsError):
            # Others may be in their file by the next time.
            self.reconnect()
        same = self.problem is not None and self.problem.code == error.code
        since_ms = self.problem.since_ms if same and self.problem else began_ms
        self.problem = problem_of(error, since_ms=since_ms)


async def _read(asked: Inquiry) -> Fetched:
    """
    Wait for an answer where everybody waits.

    Raises:
        S3Unavailable: There was none in time.
    """
    loop = asyncio.get_running_loop()
    come: asyncio.Future[Fetched] = loop.create_future()
    loop.add_reader(asked.fileno(), _take, asked, come)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await come
    except TimeoutError as late:
        raise S3Unavailable("the bucket does not answer") from late
    finally:
        loop.remove_reader(asked.fileno())


def _take(asked: Inquiry, come: asyncio.Future[Fetched]) -> None:
    if come.done():
        return
    try:
        found = asked.answer()
    except (OSError, ValueError) as broken:
        come.set_exception(broken)
    else:
        if found is not None:
            come.set_result(found)


def problem_of(error: OpsError, *, since_ms: int, what: str = "S3 does not answer") -> Problem:
    """Return what *error* means to somebody who looks at the status; *what*, if S3 is away."""
    if isinstance(error, S3Unavailable):
        why = _system_reason(error) or error.message
        return Problem(code=error.code, text=what, since_ms=since_ms, why=why)
    return Problem(code=error.code, text=error.message, since_ms=since_ms)


def _system_reason(error: BaseException) -> str:
    """Return what the operating system said, from deep below the S3 client."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError):
            return f"no answer in {TIMEOUT_S:g} s"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    return ""
