"""
Where two executions part, or one at two moments: the first difference, then call by call.

What counts is what code asked for and what it was told. When things happened, how long they
took, how often they were tried, and in which order answers came is told, and is no difference:
two runs of one program hardly ever agree in that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from obelisk_ops.core.changes import Change, changes, is_same
from obelisk_ops.core.chronicle import Call, Chronicle, Outcome
from obelisk_ops.core.events import Event, Failure
from obelisk_ops.core.history import History
from obelisk_ops.core.telling import tell


class Relation(StrEnum):
    """How two executions stand to one another; ``…_behind``: the same, not so far."""

    EQUAL = "equal"
    LEFT_BEHIND = "left_behind"
    RIGHT_BEHIND = "right_behind"
    DIVERGED = "diverged"


class What(StrEnum):
    """
    What differs.

    ``more`` is what one of them has not come to. ``call`` is another call, or one with other
    arguments, or an end where the other one goes on calling.
    """

    FUNCTION = "function"
    INPUT = "input"
    CALL = "call"
    ANSWER = "answer"
    END = "end"
    MORE = "more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """
    One of the two, at the first difference.

    Attributes:
        version: The event in its log.
        kind: Of the call; ``created``, ``finished`` or ``parked`` if it is about that.
        function: Name of the activity, stub, workflow or signal.
        arguments: JSON.
        outcome: What became of it.
        value: JSON.
        error: What it raised.
    """

    version: int
    kind: str
    function: str = ""
    arguments: bytes | None = None
    outcome: str | None = None
    value: bytes | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """
    A difference.

    Attributes:
        what: What differs.
        n: The number of the call, if it is about one.
        left: What the one has; None where it has nothing.
        right: What the other has.
        changes: What differs in the arguments or in the value.
    """

    what: What
    n: int | None
    left: Side | None
    right: Side | None
    changes: tuple[Change, ...] = ()

    @property
    def place(self) -> int:
        """Where it is: its version, in the one that has it."""
        return min(side.version for side in (self.left, self.right) if side is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    A call of both, or of one of them.

    Attributes:
        n: Its number.
        left: The one's; None if it has none.
        right: The other one's.
        differs: Which of ``call``, ``arguments``, ``outcome``, ``value``, ``error``,
            ``attempts`` differ; nothing that one of them has not come to.
        changes: What differs in the arguments, or else in the value.
    """

    n: int
    left: Call | None
    right: Call | None
    differs: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """
    What differs between two executions.

    Attributes:
        relation: How they stand to one another.
        first: The first difference; None if there is none.
        shared: So many events behind the first one are the same, as of a fork, or of one
            execution at two moments.
        other_order: The first answers that came in another order, by the number of the
            call: the one's, and the other one's. None if there are none before ``first``.
        pairs: Every call, by number.
    """

    relation: Relation
    first: Divergence | None
    shared: int
    other_order: tuple[int, int] | None
    pairs: tuple[Pair, ...]


def compare(left: History, right: History) -> Difference:
    """
    Return where two executions part.

    Raises:
        VerificationFailed: One of them is no log that anybody wrote.
        msgspec.DecodeError: An event is damaged.
    """
    one, other = tell(left), tell(right)
    if left.function != right.function:
        found = [_divergence(What.FUNCTION, None, _created(left, one), _created(right, other))]
        pairs: tuple[Pair, ...] = ()
    else:
        found = list(_divergences(left, right, one, other))
        numbers = sorted({*one.calls, *other.calls})
        pairs = tuple(_pair(n, one.calls.get(n), other.calls.get(n)) for n in numbers)
    first = min(found, key=lambda one: (one.what is What.MORE, one.place), default=None)
    return Difference(
        relation=_relation(found),
        first=first,
        shared=_shared(left.events, right.events),
        other_order=_other_order(one, other, first),
        pairs=pairs,
    )


def _relation(found: list[Divergence]) -> Relation:
    if not found:
        return Relation.EQUAL
    sides = {one.left is None for one in found if one.what is What.MORE}
    if len(sides) > 1 or any(one.what is not What.MORE for one in found):
        return Relation.DIVERGED
    return Relation.LEFT_BEHIND if sides == {True} else Relation.RIGHT_BEHIND


def _divergences(
    left: History, right: History, one: Chronicle, other: Chronicle
) -> Iterator[Divergence]:
    if not is_same(one.input, other.input):
        begins = _created(left, one), _created(right, other)
        yield _divergence(What.INPUT, None, *begins, changes(one.input, other.input))
    for n in sorted({*one.calls, *other.calls}):
        yield from _of_call(n, one, other)
    yield from _of_ends(_end(one), _end(other))


def _of_ends(left: Side | None, right: Side | None) -> Iterator[Divergence]:
    if left is None or right is None:
        ending = left or right
        if ending is not None:
            what = What.END if ending.kind == "parked" else What.MORE
            yield _divergence(what, None, left, right)
    elif not _is_same_end(left, right):
        yield _divergence(What.END, None, left, right, changes(left.value, right.value))


def _of_call(n: int, one: Chronicle, other: Chronicle) -> Iterator[Divergence]:
    left, right = one.calls.get(n), other.calls.get(n)
    if left is None or right is None:
        behind = one if left is None else other
        what = What.CALL if behind.has_ended else What.MORE
        end = _end(behind) if behind.has_ended else None
        asked = _asked(left), _asked(right)
        yield _divergence(what, n, asked[0] or end, asked[1] or end)
    elif not _is_same_call(left, right):
        given = changes(left.input, right.input)
        yield _divergence(What.CALL, n, _asked(left), _asked(right), given)
    elif (left.told_at is None) != (right.told_at is None):
        yield _divergence(What.MORE, n, _told(left), _told(right))
    elif not _is_same_answer(left, right):
        answers = changes(left.value, right.value)
        yield _divergence(What.ANSWER, n, _told(left), _told(right), answers)


def _divergence(
    what: What,
    n: int | None,
    left: Side | None,
    right: Side | None,
    found: tuple[Change, ...] = (),
) -> Divergence:
    return Divergence(what=what, n=n, left=left, right=right, changes=found)


# -- what is compared ------------------------------------------------------------------


def _is_same_call(left: Call, right: Call) -> bool:
    one = left.kind, left.function, left.wait_ms
    return one == (right.kind, right.function, right.wait_ms) and is_same(
        left.input, right.input
    )  # fmt: skip


def _is_same_answer(left: Call, right: Call) -> bool:
    return (
        left.outcome is right.outcome
        and is_same(left.value, right.value)
        and _is_same_error(left.error, right.error)
    )


def _is_same_error(left: Failure | None, right: Failure | None) -> bool:
    if left is None or right is None:
        return left is right
    return (left.type, left.message) == (right.type, right.message)


def _is_same_end(left: Side, right: Side) -> bool:
    return (
        (left.kind, left.outcome) == (right.kind, right.outcome)
        and is_same(left.value, right.value)
        and _is_same_error(left.error, right.error)
    )


def _pair(n: int, left: Call | None, right: Call | None) -> Pair:
    if left is None or right is None:
        return Pair(n=n, left=left, right=right)
    differs = tuple(_differing(left, right))
    found = changes(left.input, right.input) if "arguments" in differs else ()
    if not found and "value" in differs:
        found = changes(left.value, right.value)
    return Pair(n=n, left=left, right=right, differs=differs, changes=found)


def _differing(left: Call, right: Call) -> Iterator[str]:
    if (left.kind, left.function) != (right.kind, right.function):
        yield "call"
    elif not _is_same_call(left, right):
        yield "arguments"
    if left.told_at is None or right.told_at is None:
        return
    if left.outcome is not right.outcome:
        yield "outcome"
    if not is_same(left.value, right.value):
        yield "value"
    if not _is_same_error(left.error, right.error):
        yield "error"
    if len(left.attempts) != len(right.attempts):
        yield "attempts"


# -- sides -----------------------------------------------------------------------------


def _created(history: History, told: Chronicle) -> Side:
    return Side(version=0, kind="created", function=history.function, arguments=told.input)


def _asked(call: Call | None) -> Side | None:
    if call is None:
        return None
    return Side(
        version=call.version, kind=call.kind, function=call.function, arguments=call.input
    )


def _told(call: Call) -> Side | None:
    if call.told_version is None:
        return None
    return Side(
        version=call.told_version, kind=call.kind, function=call.function,
        arguments=call.input, outcome=call.outcome, value=call.value, error=call.error,
    )  # fmt: skip


def _end(told: Chronicle) -> Side | None:
    if not told.has_ended and told.error is None:
        return None
    outcome = "continued" if told.continued_as else Outcome.ERROR if told.error else Outcome.OK
    return Side(
        version=told.last_version, kind="finished" if told.has_ended else "parked",
        outcome=outcome, value=told.value, error=told.error,
    )  # fmt: skip


# -- logs ------------------------------------------------------------------------------


def _shared(left: Sequence[Event], right: Sequence[Event]) -> int:
    """Return how many events are the same, from the second on: the first has the id."""
    number = 0
    for one, other in zip(left[1:], right[1:], strict=False):
        if one != other:
            break
        number += 1
    return number


def _other_order(
    left: Chronicle, right: Chronicle, first: Divergence | None
) -> tuple[int, int] | None:
    limit = None if first is None else first.place
    both = {*_answered(left, limit)} & {*_answered(right, limit)}
    for one, other in zip(
        (n for n in _answered(left, limit) if n in both),
        (n for n in _answered(right, limit) if n in both),
        strict=False,
    ):
        if one != other:
            return one, other
    return None


def _answered(told: Chronicle, limit: int | None) -> list[int]:
    """Return the calls that were answered, in that order; before a version."""
    found = [
        (call.told_version, call.n)
        for call in told.calls.values()
        if call.told_version is not None and (limit is None or call.told_version < limit)
    ]
    return [n for _, n in sorted(found)]
