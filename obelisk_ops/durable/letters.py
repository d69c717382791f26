"""The owner's answers to letters; each leaves the mailbox with the rows that answer it."""

from __future__ import annotations

import msgspec

from obelisk_ops.core import events
from obelisk_ops.core.ports import Letter, LogStore
from obelisk_ops.core.requests import REQUESTS
from obelisk_ops.durable.log import log
from obelisk_ops.durable.requests import Later
from obelisk_ops.durable.scheduler import Scheduler
from obelisk_ops.durable.turn import Turn
from obelisk_ops.errors import Conflict, ExecutionError, NotFound, OpsError, UsageError

_LETTERS_MAX = 500


class Letters:
    """Reads the mailbox, and does what it says in the order in which it was asked."""

    def __init__(self, store: LogStore, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._answering: set[int] = set()
        #: letters whose sender is in this process, and why one was refused
        self.own: dict[tuple[str, str, str], OpsError | None] = {}

    def deliver(self) -> bool:
        """Answer what waits; return whether more is to be answered after the next commit."""
        letters = self._store.letters(_LETTERS_MAX)
        is_held_up = answered = False
        for letter in letters:
            if letter.id in self._answering:
                continue
            try:
                answered |= self._answer(letter)
            except Later:
                is_held_up = True
                break  # and what comes after it: their order counts
        is_more = is_held_up or (answered and len(letters) == _LETTERS_MAX)
        if is_more:
            # Nobody else's commit would remind us of the rest.
            self._scheduler.open().effects.append((self._deliver_soon, ()))
        return is_more

    def _deliver_soon(self) -> None:
        self._scheduler.post(self._deliver_again)

    def _deliver_again(self) -> None:
        self.deliver()

    def _answer(self, letter: Letter) -> bool:
        turn = self._turn_for(letter)
        if turn is None:
            return False  # of a later version, it may be: it stays for one
        self._answering.add(letter.id)
        turn.write.letters_done = (*turn.write.letters_done, letter.id)
        # Once it is gone from the table its number may come again.
        turn.effects.append((self._answering.discard, (letter.id,)))
        return True

    def _turn_for(self, letter: Letter) -> Turn | None:
        try:
            if letter.kind == "create":
                return self._create(letter)
            if letter.kind in REQUESTS:
                return self._scheduler.requests.answer(letter.kind, letter.target, letter.body)
        except Later:
            raise
        except (Conflict, NotFound, OpsError, UsageError, ExecutionError) as error:
            # Its sender was told what could be known then: less, or before things changed.
            if (letter.kind, letter.target, letter.body) in self.own:
                self.own[letter.kind, letter.target, letter.body] = error
            log.warning(
                "request_refused",
                request=letter.kind,
                target=letter.target,
                reason=error.message,
            )
            return self._scheduler.open()
        except msgspec.DecodeError:
            return None
        return None

    def _create(self, letter: Letter) -> Turn:
        body = msgspec.json.decode(letter.body, type=events.Created)
        if self.how_created(letter.target) is None:
            return self._scheduler.nursery.begin(letter.target, body)
        return self._scheduler.open()

    def how_created(self, execution_id: str) -> str | None:
        """Return the ``created`` event of an execution, if it exists."""
        execution = self._scheduler.roster.find(execution_id)
        if execution is not None:
            return events.encode(execution.created)
        if self._scheduler.cold.is_busy(execution_id, None):
            raise Later(f"execution {execution_id!r} is being written")
        row = self._store.find(execution_id)
        return self._store.log(row.key)[0].body if row else None
