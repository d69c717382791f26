"""The owner's answers to letters; each leaves the mailbox with the rows that answer it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import msgspec

from obelisk_ops.core import bundle, events, failures, retention, schedules
from obelisk_ops.core.archive import ArchiveStore
from obelisk_ops.core.forking import fork
from obelisk_ops.core.history import History, history_of
from obelisk_ops.core.ports import Letter
from obelisk_ops.core.requests import MAKING, REQUESTS, Fork
from obelisk_ops.durable.commits import as_ops_error
from obelisk_ops.durable.log import log
from obelisk_ops.durable.pruning import Pruning
from obelisk_ops.durable.requests import Later
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import (
    ExecutionExists,
    ExecutionNotFound,
    OpsError,
    StorageUnavailable,
    Unavailable,
)

_AGAIN_S = 0.2


class Letters:
    """Reads the mailbox, and does what it says in the order in which it was asked."""

    def __init__(self, store: ArchiveStore, scheduler: Scheduler) -> None:
        self.pruning = Pruning(store, scheduler)
        self._store = store
        self._scheduler = scheduler
        self._answering: set[int] = set()
        #: letters whose sender is in this process, and why one was refused
        self.own: dict[tuple[str, str, str], OpsError | None] = {}

    def deliver(self) -> bool:
        """Answer what waits; return whether more is to be answered after the next commit."""
        if self._scheduler.is_behind:
            return True  # some may be for what is not known here yet; the next look delivers
        letters = self._store.take_letters()
        is_held_up = answered = False
        for letter in letters:
            if letter.id in self._answering:
                continue
            try:
                answered |= self._answer(letter)
            except Later:
                is_held_up = True
                break  # and what comes after it: their order counts
        is_more = is_held_up or (answered and len(letters) >= self._store.letters_at_once)
        if is_more:
            # Nobody else's commit would remind us of the rest.
            self._scheduler.after_commit(self._deliver_soon)
        return is_more

    def _deliver_soon(self) -> None:
        self._scheduler.post(self._deliver_again)

    def _deliver_again(self) -> None:
        try:
            self.deliver()
        except StorageUnavailable:  # of a server that is away, or refuses it, for a moment
            self._deliver_later()

    def _deliver_later(self) -> None:
        again = asyncio.get_running_loop().call_later
        again(_AGAIN_S, self._scheduler.post, self._deliver_again)

    def _answer(self, letter: Letter) -> bool:
        turn = self._turn_for(letter)
        if turn is None:
            return False  # of a later version, it may be: it stays for one
        self._answering.add(letter.id)
        turn.write.letters_done = (*turn.write.letters_done, letter.id)
        turn.settled = partial(self._settled, letter.id)
        return True

    def _settled(self, letter: int, is_durable: bool) -> None:  # noqa: FBT001
        # Once it is gone from the table its number may come again.
        self._answering.discard(letter)
        if not is_durable:  # nothing of it is: it is answered anew
            self._deliver_later()

    def _turn_for(self, letter: Letter) -> Turn | None:
        try:
            return self._do(letter)
        except (Later, Unavailable):
            raise  # it stays in the mailbox, to be answered when that has passed
        except msgspec.DecodeError:
            return None
        except Exception as bug:  # noqa: BLE001 - those behind it are not to wait for ever
            # Its sender was told what could be known then: less, or before things changed.
            error = as_ops_error(bug)
            if (letter.kind, letter.target, letter.body) in self.own:
                self.own[letter.kind, letter.target, letter.body] = error
            log.warning(
                "request_refused",
                request=letter.kind,
                target=letter.target,
                reason=error.message,
            )
            turn = self._scheduler.open()
            told = msgspec.json.encode(failures.record(error)).decode()
            turn.write.refusals = [(letter.id, self._scheduler.now_ms(), told)]
            return turn

    def _do(self, letter: Letter) -> Turn | None:
        if letter.kind in MAKING:
            return self._make(letter)
        if letter.kind in REQUESTS:
            return self._scheduler.requests.answer(letter.kind, letter.target, letter.body)
        if letter.kind == schedules.KIND:
            return self._scheduler.schedules.answer(letter)
        if letter.kind == retention.KIND:
            self.pruning.begin(letter)  # it stays until that is done
        return None

    def _make(self, letter: Letter) -> Turn:
        return self._create(letter) if letter.kind == "create" else self._plant(letter)

    def _create(self, letter: Letter) -> Turn:
        body = msgspec.json.decode(letter.body, type=events.Created)
        if self.how_created(letter.target) is None:
            if body.cron:
                return self._scheduler.schedules.trigger(letter.target, body)
            return self._scheduler.nursery.begin(letter.target, body, asked_at=letter.at)
        return self._scheduler.open()

    def _plant(self, letter: Letter) -> Turn:
        if letter.kind == "fork":
            asked = msgspec.json.decode(letter.body, type=Fork)
            forked = fork(self._history(asked.id), asked.version, letter.target)
            histories = [replace(forked, created_at=self._scheduler.now_ms())]
        else:
            histories = bundle.from_json(letter.body)
        for one in histories:
            if self.how_created(one.execution_id) is not None:
                raise ExecutionExists(f"execution {one.execution_id!r} exists")
        return self._scheduler.nursery.plant(histories)

    def _history(self, execution_id: str) -> History:
        row = self._store.find(execution_id)
        if row is None:
            raise ExecutionNotFound(f"there is no execution {execution_id!r}")
        return history_of(row.id, self._store.log(row.key), self._store.inbox(row.key))

    def how_created(self, execution_id: str) -> str | None:
        """Return the ``created`` event of an execution, if it exists."""
        execution = self._scheduler.roster.find(execution_id)
        if execution is not None:
            return events.encode(execution.created)
        if self._scheduler.cold.is_busy(execution_id, None):
            raise Later(f"execution {execution_id!r} is being written")
        row = self._store.find(execution_id)
        return self._store.first(row.key).body if row else None

    def how_asked(self, execution_id: str) -> str | None:
        """Return the same, also of one that a letter asks for which nobody has answered yet."""
        created = self.how_created(execution_id)
        if created is None:
            asked = self._store.find_letters(execution_id, ("create",))
            created = asked[0].body if asked else None
        return created
