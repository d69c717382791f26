"""
From moments to places on a line.

A run computes for seconds and then waits for a day. On an even scale one of the two cannot be
seen, so times in which nothing happens are *folded*: drawn narrow, hatched, and labelled with
their length. All other times share one even scale.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

#: quiet times are folded where all the others would have less than this part of the line
_SQUEEZED: Final = 0.125
_FOLDS_MAX: Final = 6
_FOLD_WIDTH: Final = 0.06
#: nothing that is not folded is narrower, even if it took no time
_NARROWEST: Final = 0.02
_TICKS: Final = 8
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
_STEPS: Final = (
    1, 2, 5, 10, 20, 50, 100, 200, 500,
    *(n * _SECOND for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 30, 90, 365, 3650)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A time, UTC milliseconds, and the place it takes: 0 is the left end, 1 the right one."""

    begin_at: int
    end_at: int
    left: float
    right: float
    is_folded: bool = False

    @property
    def length(self) -> int:
        """Milliseconds."""
        return self.end_at - self.begin_at


@dataclass(frozen=True, slots=True)
class Tick:
    """
    A mark on the axis, ``after`` milliseconds behind the begin of its piece.

    ``room`` is how much of the piece is behind it.
    """

    place: float
    after: int
    room: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Pieces that follow one another from 0 to 1."""

    pieces: tuple[Piece, ...]

    def place(self, at: int) -> float:
        """Return where a moment is; before the begin 0, after the end 1."""
        found = bisect_right(self.pieces, at, key=lambda piece: piece.begin_at) - 1
        piece = self.pieces[max(found, 0)]
        if piece.length <= 0:
            return piece.left if at <= piece.begin_at else piece.right
        part = min(max((at - piece.begin_at) / piece.length, 0.0), 1.0)
        return piece.left + part * (piece.right - piece.left)

    def ticks(self) -> list[Tick]:
        """Return round numbers of milliseconds in each piece that is not folded."""
        drawn = [piece for piece in self.pieces if not piece.is_folded]
        room = sum(piece.right - piece.left for piece in drawn)
        step = next((s for s in _STEPS if sum(p.length for p in drawn) <= s * _TICKS * room),
                    _STEPS[-1])  # fmt: skip
        return [
            Tick(place := self.place(piece.begin_at + after), after, piece.right - place)
            for piece in drawn
            for after in range(0, min(piece.length, step * _TICKS) + 1, step)
        ]


def make_scale(moments: Iterable[int], busy: Iterable[tuple[int, int]]) -> Scale:
    """
    Lay out the time from the first moment to the last one.

    Args:
        moments: When something happened; UTC milliseconds, at least one.
        busy: Times that are not folded, although nothing is recorded in them.
    """
    times = sorted(set(moments))
    folded = _choose(list(_quiet(times, sorted(busy))), times[-1] - times[0])
    return Scale(tuple(_laid_out(list(_cut(times, folded)))))


def _quiet(times: Sequence[int], busy: Sequence[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Yield the times between two moments in which nothing ran."""
    after, reach = 0, times[0]
    for begin, end in pairwise(times):
        while after < len(busy) and busy[after][0] < end:
            reach, after = max(reach, busy[after][1]), after + 1
        if reach <= begin:
            yield begin, end


def _choose(quiet: Iterable[tuple[int, int]], whole: int) -> set[tuple[int, int]]:
    """
    Return the times to fold: as few as free the rest from being squeezed.

    Then the same again with what is left: a run may wait for days, and for minutes.
    """
    longest = sorted(quiet, key=lambda gap: gap[0] - gap[1])[:_FOLDS_MAX]
    chosen: set[tuple[int, int]] = set()
    rest, together = whole, []
    for gap in longest:
        together.append(gap)
        rest -= gap[1] - gap[0]
        if 0 < rest < whole * _SQUEEZED:
            chosen.update(together)
            whole, together = rest, []
    return chosen


def _cut(times: Sequence[int], folded: set[tuple[int, int]]) -> Iterable[tuple[int, int, bool]]:
    """Yield begin and end of each piece, and whether it is folded."""
    begin = times[0]
    for one, other in sorted(folded):
        yield begin, one, False
        yield one, other, True
        begin = other
    if begin < times[-1] or not folded:
        yield begin, times[-1], False


def _laid_out(cut: list[tuple[int, int, bool]]) -> Iterable[Piece]:
    """Give each piece its place."""
    room = 1 - _FOLD_WIDTH * sum(is_folded for *_, is_folded in cut)
    time = sum(end - begin for begin, end, is_folded in cut if not is_folded) or 1
    wanted = [
        _FOLD_WIDTH if is_folded else max(_NARROWEST, room * (end - begin) / time)
        for begin, end, is_folded in cut
    ]
    left = 0.0
    for (begin, end, is_folded), width in zip(cut, wanted, strict=True):
        right = left + width / sum(wanted)
        yield Piece(begin, end, left, min(right, 1.0), is_folded)
        left = right
