"""What has arrived for one execution, or waits in the mailbox: looked up, not read through."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from obelisk_ops.core.ports import InboxItem, Letter
    from obelisk_ops.core.rows import RefusalRow


class Arrivals(Protocol):
    """A part of LogReader. Each answer takes as long with ten thousand of them as with one."""

    def find_signal(self, key: int, signal_id: str) -> InboxItem | None:
        """Return the signal with this id that has reached one execution, if one has."""
        ...

    def find_answer(self, key: int, n: int) -> InboxItem | None:
        """Return what has reached one execution as the result of its stub, call *n*."""
        ...

    def find_letters(self, target: str, kinds: Collection[str]) -> list[Letter]:
        """Return what waits in the mailbox for a target, of these kinds, oldest first."""
        ...

    def find_signal_letter(self, target: str, signal_id: str) -> Letter | None:
        """Return the signal with this id that waits in the mailbox for one execution."""
        ...

    def find_refusal(self, letter: int) -> RefusalRow | None:
        """Return why the owner refused a letter; for a minute after, then it is forgotten."""
        ...


class Sender(Protocol):
    """A part of Mailbox."""

    @property
    def last_letter(self) -> int:
        """The number of the last letter that was put into the mailbox here; 0 for none."""
        ...

    def note_waiting(self, execution_id: str) -> None:
        """Let who ends an execution tell so, once, where a database can tell."""
        ...


class Taker(Protocol):
    """
    A part of LogStore.

    Attributes:
        letters_at_once: How many letters are taken at once.
    """

    letters_at_once: int

    def take_letters(self) -> list[Letter]:
        """Return what is for this owner to answer, oldest first; what it took is its own."""
        ...

    def draw_keys(self) -> Iterable[int]:
        """Return keys for new executions, ascending; larger than all that are in use here."""
        ...
