"""
Whether the first attempt of a call starts with the commit that asks for it.

Nearly always it does: one event, one sync. Not where the bucket must hold that commit before
anything starts, and the activity runs at most once. Were its start on record meanwhile, a kill
would make an outcome that nobody knows of an attempt that never ran. So the call is recorded
without one, and the start by itself: in the same commit if the whole turn need not wait, which
is known at its end, or else once the bucket holds the call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from obelisk_ops.durable.flow.functions import Activity
from obelisk_ops.durable.flow.pending import Pending
from obelisk_ops.durable.ports import Owner
from obelisk_ops.durable.turn import Turn

if TYPE_CHECKING:
    from obelisk_ops.durable.execution import Execution


def admit(
    execution: Execution, owner: Owner, turn: Turn, n: int, pending: Pending,
    function: Activity[Any, Any],
) -> int:  # fmt: skip
    """Let the first attempt of a new call start, or wait; return 1 if it starts, else 0."""
    if function.at_most_once:
        turn.last.append((_start_once, (execution, owner, turn, n)))
        return 0
    if owner.reserve_slot(function, (execution.key, n)):
        turn.effects.append((owner.start_attempt, (execution, n, pending)))
        return 1
    put_off(execution, owner, turn, n, pending)
    return 0


def asked(owner: Owner, function: Activity[Any, Any]) -> bool | None:
    """
    Return whether the attempts of an activity wait for the bucket; None where it does not say.

    Raises:
        ConfigError: They would wait for ever.
    """
    if function.replicated:
        owner.check_barrier(function.name)
    return function.replicated


def check_open(owner: Owner, calls: Iterable[Pending]) -> None:
    """
    Return if none of these calls, which began in another database perhaps, waits for ever.

    Raises:
        ConfigError: One does.
    """
    for pending in calls:
        if isinstance(pending.function, Activity):
            asked(owner, pending.function)


def put_off(execution: Execution, owner: Owner, turn: Turn, n: int, pending: Pending) -> None:
    """Let an attempt that finds no place be made elsewhere, or wait for one here."""
    if not owner.offer(turn.write, execution.id, (execution.key, n), pending):
        turn.effects.append((owner.wait_for_slot, (execution, n)))


def _start_once(execution: Execution, owner: Owner, turn: Turn, n: int) -> None:
    if n not in execution.machine.pending:
        return  # given up in the same turn
    if turn.waits or owner.holds(execution.key):
        turn.effects.append((owner.start_soon, (execution, n)))
    else:
        execution.attempt_started(turn, n, 0)  # it is still the moment of the turn
