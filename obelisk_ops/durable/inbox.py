"""What has reached an execution, and its code was not told yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from obelisk_ops.core.ports import InboxItem
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.durable.flow.pending import Pending

Found = tuple[int, int, InboxItem]
"""seq of an item, number of the call that it answers, and itself"""


class Code(Protocol):
    """
    What a machine knows of an inbox, when it has replayed its log.

    Attributes:
        pending: The calls without an answer.
        signals_taken: Seqs of the signals that were received.
        aside: Seqs of what did not fit, and is not told.
    """

    pending: dict[int, Pending]
    signals_taken: set[int]
    aside: set[int]


class Inbox:
    """In the order of arrival. Ten thousand signals that nobody wants yet cost nothing."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._answers: dict[int, InboxItem] = {}
        self._signals: dict[str, deque[tuple[int, InboxItem]]] = {}
        self._signal_ids: set[str] = set()

    def load(self, items: Mapping[int, InboxItem], code: Code) -> None:
        """
        Begin with what is on disk.

        Args:
            items: By seq.
            code: What it was told, and what it waits for.
        """
        self.last_seq = max(items, default=0)
        for seq, item in sorted(items.items()):
            if seq in code.aside:
                continue
            if item.kind == "signal":
                self._keep_signal(seq, item, is_taken=seq in code.signals_taken)
            elif item.kind != "timer" and item.ref in code.pending:
                self._answers[seq] = item  # answers to other calls were told

    def add(self, item: InboxItem) -> int:
        """Take in something, and return its seq."""
        self.last_seq += 1
        if item.kind == "signal":
            self._keep_signal(self.last_seq, item)
        elif item.kind != "timer":
            self._answers[self.last_seq] = item
        return self.last_seq

    def has_signal(self, signal_id: str) -> bool:
        """Return whether a signal of this id has arrived; never for the empty one."""
        return bool(signal_id) and signal_id in self._signal_ids

    def answer(self, kind: str, n: int) -> str | None:
        """Return what was answered to a call, if its code was not told yet."""
        found = (
            item.body for item in self._answers.values() if (item.kind, item.ref) == (kind, n)
        )
        return next(found, None)

    def forget(self, item: InboxItem) -> None:
        """Let a signal that was set aside be sent again under its id."""
        if item.kind == "signal":
            self._signal_ids.discard(_signal(item).id)

    def signals(self) -> Iterator[SignalBody]:
        """Yield the signals that were not received."""
        left = [entry for queue in self._signals.values() for entry in queue]
        return (_signal(item) for _, item in sorted(left, key=lambda entry: entry[0]))

    def take(
        self, pending: Mapping[int, Pending], listening: Mapping[int, str]
    ) -> Found | None:
        """
        Take out the first item that code waits for.

        Args:
            pending: The calls without an answer.
            listening: Those of them that wait for a signal, and for which.
        """
        signal = self._first_signal(listening)
        while self._answers:
            seq, item = next(iter(self._answers.items()))
            if signal is not None and signal[0] < seq:
                break
            del self._answers[seq]
            if item.ref in pending:
                return seq, item.ref, item
            # Else the call was cancelled meanwhile: nobody will want it.
        if signal is not None:
            self._signals[listening[signal[1]]].popleft()
        return signal

    def _first_signal(self, listening: Mapping[int, str]) -> Found | None:
        first: Found | None = None
        for n, name in listening.items():
            queue = self._signals.get(name)
            if queue and (first is None or queue[0][0] < first[0]):
                first = (queue[0][0], n, queue[0][1])
        return first

    def _keep_signal(self, seq: int, item: InboxItem, *, is_taken: bool = False) -> None:
        signal = _signal(item)
        self._signal_ids.add(signal.id)
        if not is_taken:
            self._signals.setdefault(signal.name, deque()).append((seq, item))


def _signal(item: InboxItem) -> SignalBody:
    return msgspec.json.decode(item.body, type=SignalBody)
