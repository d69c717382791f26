"""What has reached an execution, and its code was not told yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from obelisk_ops.core.ports import InboxItem
from obelisk_ops.core.requests import Signal as SignalBody
from obelisk_ops.durable.pending import Pending
from obelisk_ops.durable.signals import Signal


class Inbox:
    """In the order of arrival."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._items: dict[int, InboxItem] = {}
        self._signal_ids: set[str] = set()

    def load(
        self, items: Mapping[int, InboxItem], pending: Mapping[int, Pending], taken: set[int]
    ) -> None:
        """
        Begin with what is on disk.

        Args:
            items: By seq.
            pending: The calls without an answer; answers to others were told.
            taken: Seqs of the signals that were received.
        """
        self.last_seq = max(items, default=0)
        for seq, item in sorted(items.items()):
            is_open = seq not in taken if item.kind == "signal" else item.ref in pending
            if is_open and item.kind != "timer":
                self._items[seq] = item
            if item.kind == "signal":
                self._signal_ids.add(_signal(item).id)

    def add(self, item: InboxItem) -> int:
        """Take in something, and return its seq."""
        self.last_seq += 1
        if item.kind != "timer":
            self._items[self.last_seq] = item
        if item.kind == "signal":
            self._signal_ids.add(_signal(item).id)
        return self.last_seq

    def has_signal(self, signal_id: str) -> bool:
        """Return whether a signal of this id has arrived; never for the empty one."""
        return bool(signal_id) and signal_id in self._signal_ids

    def answer(self, kind: str, n: int) -> str | None:
        """Return what was answered to a call, if its code was not told yet."""
        found = (
            item.body for item in self._items.values() if (item.kind, item.ref) == (kind, n)
        )
        return next(found, None)

    def signals(self) -> Iterator[SignalBody]:
        """Yield the signals that were not received."""
        return (_signal(item) for item in self._items.values() if item.kind == "signal")

    def take(self, pending: Mapping[int, Pending]) -> tuple[int, int, InboxItem] | None:
        """Take out the first item that code waits for: its seq, the call, and itself."""
        if not self._items:
            return None
        for seq, item in self._items.items():
            n = item.ref if item.kind != "signal" else _waiting_for(_signal(item).name, pending)
            if n in pending:
                del self._items[seq]
                return seq, n, item
        return None


def _waiting_for(name: str, pending: Mapping[int, Pending]) -> int:
    """Return the first call that waits for a signal of this name; 0 when there is none."""
    return next(
        (
            n
            for n, call in pending.items()
            if isinstance(call.function, Signal) and call.function.name == name
        ),
        0,
    )


def _signal(item: InboxItem) -> SignalBody:
    return msgspec.json.decode(item.body, type=SignalBody)
