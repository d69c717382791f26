"""
Reading many databases that may be hostile: in one child process, with many threads.

When the child dies, those that it was reading are suspects, and each is read again in a
child of its own. Only the one that did it is given up; the others go on in a new child.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

import msgspec

from obelisk_ops.errors import LimitExceeded, OpsError
from obelisk_ops.inspect.apart import decode, encode, in_words, outcome_of
from obelisk_ops.process.apart import Answers, Death, Limits, Say, answers

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")

#: Waiting for the bucket is most of it, so more than there are processors.
_THREADS = 8


_NAME = msgspec.json.Decoder(str)


@dataclass(slots=True)
class _Lot(Generic[I]):
    """What one child is given, and how far it has come: name → when it began."""

    items: Mapping[str, I]
    begun: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    @property
    def suspects(self) -> list[str]:
        return [name for name in self.begun if name not in self.done]

    @property
    def untouched(self) -> list[str]:
        return [name for name in self.items if name not in self.begun]


class Crew(Generic[I, T]):
    """Reads items, and outlives whatever they hold."""

    def __init__(
        self,
        prepare: Callable[[], Callable[[I], T]],
        decoder: msgspec.json.Decoder[T],
        *,
        one_s: float,
    ) -> None:
        """
        Begin nothing yet.

        Args:
            prepare: Called in each child; returns what reads an item, from many threads.
            decoder: Of what that returns.
            one_s: How long one item may take.
        """
        self._prepare, self._decoder, self._one_s = prepare, decoder, one_s

    def read(self, items: Mapping[str, I]) -> Generator[tuple[I, T | OpsError]]:
        """Yield each item, by whatever name, with what was read or why it cannot be."""
        together, alone = list(items), list[str]()
        while together or alone:
            names = together or [alone.pop()]
            lot = _Lot({name: items[name] for name in names})
            is_alone = not together
            together = []
            try:
                for name, outcome in self._in_a_child(lot):
                    if isinstance(outcome, LimitExceeded) and not is_alone:
                        alone.append(name)  # it may be the others who took the memory
                    else:
                        yield items[name], outcome
            except Death as death:
                if is_alone or not lot.begun:
                    yield from ((items[name], in_words(death, name)) for name in names)
                else:
                    alone += lot.suspects
                    together = lot.untouched

    def _in_a_child(self, lot: _Lot[I]) -> Iterator[tuple[str, T | OpsError]]:
        limits = Limits(time_s=self._one_s * len(lot.items))
        with answers(lambda say: self._work(lot.items, say), limits) as given:
            while (said := self._next(given, lot)) is not None:
                head, _, answer = said.partition(b"\n")
                name = _NAME.decode(head)
                if answer:
                    lot.done.add(name)
                    outcome = decode(answer, self._decoder)
                    yield name, outcome
                else:
                    lot.begun[name] = time.monotonic()

    def _next(self, given: Answers, lot: _Lot[I]) -> bytes | None:
        since = min((lot.begun[name] for name in lot.suspects), default=time.monotonic())
        left_s = since + self._one_s - time.monotonic()
        return given.next(left_s)

    def _work(self, items: Mapping[str, I], say: Say) -> None:
        read, alone = self._prepare(), Lock()

        def one(name: str, item: I) -> None:
            head = msgspec.json.encode(name) + b"\n"
            with alone:
                say(head)
            outcome = outcome_of(lambda: read(item))
            # Two threads that teach msgspec a type at the same time crash it.
            with alone:
                say(head + encode(outcome))

        with ThreadPoolExecutor(_THREADS) as pool:
            for done in [pool.submit(one, *item) for item in items.items()]:
                done.result()
