"""How many attempts of a queue may start within a period, whichever process started them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from obelisk_ops.core.ports import Write
from obelisk_ops.core.rows import StartRow


class Rate:
    """
    The starts that the rate of one queue counts.

    What starts is written down in the commit that says so, what is past goes with it: a
    process that comes after this one, at once or after a crash, counts on from there.
    """

    def __init__(self, queue: str, many: int, per_ms: int) -> None:
        """Allow *many* starts of attempts of a queue within each period."""
        self.queue = queue
        self._many = many
        self._per_ms = per_ms
        self._starts: deque[tuple[int, int]] = deque()  # elapsed, at
        self._counted: Counter[int] = Counter()  # by at
        self._new: dict[int, StartRow] = {}
        self._gone: set[int] = set()

    def load(self, rows: Iterable[StartRow], now_ms: int, elapsed_ms: int) -> None:
        """Count what other processes have started."""
        found = [
            (elapsed_ms - age_ms(now_ms - at, elapsed_ms - elapsed), at)
            for _, at, elapsed, many in rows
            for _ in range(many)
        ]
        self._starts.extend(sorted(found))
        self._counted.update(at for _, at in found)

    def note(self, now_ms: int, elapsed_ms: int) -> None:
        """Count an attempt that starts."""
        self._starts.append((elapsed_ms, now_ms))
        self._counted[now_ms] += 1
        many = self._new[now_ms][3] if now_ms in self._new else 0
        self._new[now_ms] = (self.queue, now_ms, elapsed_ms, many + 1)
        self._gone.discard(now_ms)

    def opens_in_ms(self, elapsed_ms: int) -> int:
        """Return when one more may start; 0 for now."""
        while self._starts and self._starts[0][0] <= elapsed_ms - self._per_ms:
            _, at = self._starts.popleft()
            self._counted[at] -= 1
            if not self._counted[at]:
                del self._counted[at]
                self._gone.add(at)
        if len(self._starts) < self._many:
            return 0
        return self._starts[-self._many][0] + self._per_ms - elapsed_ms

    def room(self, elapsed_ms: int) -> int:
        """Return how many may start now."""
        self.opens_in_ms(elapsed_ms)  # what is past does not count
        return max(0, self._many - len(self._starts))

    @property
    def has_news(self) -> bool:
        """Whether attempts start that are not on record."""
        return bool(self._new)

    def ride(self, write: Write) -> None:
        """Put into a write what starts after it, and what is past."""
        write.starts = [*write.starts, *self._new.values()]
        gone = sorted(self._gone - self._new.keys())
        write.starts_gone = [*write.starts_gone, *((self.queue, at) for at in gone)]
        self._new, self._gone = {}, set()


def age_ms(by_the_wall: int, elapsed: int) -> int:
    """
    Return how long ago something was at least, given how long by two clocks; milliseconds.

    The clock of the wall may have been set since, the other one began anew if the machine
    was started again (and is then often behind: *elapsed* is negative). The shorter time
    holds back too long once, and never lets in too many.
    """
    return max(min(by_the_wall, elapsed) if elapsed >= 0 else by_the_wall, 0)
