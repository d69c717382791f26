"""
Which activities may have run after the moment that was restored.

A copy knows nothing of what came later, and whoever goes on from it does that again. The
newest state in the bucket knows of most of it, and is read where it is; of what was never
shipped nobody knows.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from obelisk_ops.core.clock import Clock
from obelisk_ops.core.when import Latest
from obelisk_ops.errors import OpsError
from obelisk_ops.inspect import summary
from obelisk_ops.inspect.afterwards import attempts_since
from obelisk_ops.inspect.in_place import open_in_place
from obelisk_ops.inspect.opening import open_read_only
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.replica.image import Image
from obelisk_ops.restore.service import Plan, Source, make_plan

ATTEMPTS_MAX = 1000
_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """
    What is known of the time behind a restore point.

    Attributes:
        attempts: What began, ATTEMPTS_MAX at most, whatever became of it.
        until: The newest state, up to which that is known; None if nothing is.
        unknown: Why nothing is known; empty if something is.
    """

    attempts: tuple[InFlight, ...] = ()
    until: Plan | None = None
    unknown: str = ""


def ran_after(source: Source, plan: Plan, copy: Path, clock: Clock) -> After | None:
    """
    Compare a restored copy with the newest state; None if it is no workflow database.

    Never fails: what cannot be found out is not known.
    """
    try:
        with open_read_only(copy, limit_s=_LIMIT_S) as earlier, earlier:
            if not summary.is_workflow_database(earlier):
                return None
            newest = make_plan(source, Latest(), clock)
            if plan.point.orphaned:
                return After(unknown="the newest state does not descend from this point")
            if newest.point == plan.point:
                return After(unknown="there is no later state in the bucket")
            with ExitStack() as stack:
                point = newest.point
                image = stack.enter_context(
                    Image(source.store, source.keys, point.epoch, point.txid, newest.files)
                )
                later = stack.enter_context(
                    open_in_place(image, source.keys.name, limit_s=_LIMIT_S)
                )
                found = tuple(islice(attempts_since(earlier, later), ATTEMPTS_MAX))
    except OpsError as error:
        return After(unknown=error.message)
    return After(attempts=found, until=newest)
