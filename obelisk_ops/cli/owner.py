"""What the owner of a database adds to what is on record of an execution."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from obelisk_ops.cli.databases import is_backup
from obelisk_ops.core.clock import SystemClock
from obelisk_ops.core.tasks import told
from obelisk_ops.core.why import Situation, Surroundings, family, unanswered
from obelisk_ops.durable import tether
from obelisk_ops.durable.enquiry import Reply, enquire
from obelisk_ops.storage import Place, as_address, is_owned, look_at_tasks, served


def surroundings(database: str, asked: Situation) -> Surroundings:
    """
    Ask the owner of *database*, if there is one, about an execution and its children.

    Attempts that are on record and held back, as until the bucket holds that, are taken
    back in the stories of *asked*: they have not started.
    """
    clock = SystemClock()
    now_ms = clock.now_ms()
    if is_backup(database):
        return Surroundings(name=database, is_owned=None, now_ms=now_ms)
    address = as_address(database)
    barred = tether.barred(address, clock)
    all_of_it = {one.row.key: one for one in family(asked)}
    tasks = {(view.execution, view.n): view for view in look_at_tasks(address, all_of_it)}
    offered = {call: told(view) for call, view in tasks.items()}
    if not is_owned(address):
        return Surroundings(
            name=database, is_owned=False, now_ms=now_ms, barred=barred.why,
            is_lost=barred.is_lost, slots=offered,
        )  # fmt: skip
    functions = {one.row.function for one in all_of_it.values()}
    if isinstance(address, Place):  # what workers serve is on record there, and no more
        reply = Reply(unserved=sorted(functions - served(address)))
    else:
        reply = enquire(address, functions, unanswered(asked), all_of_it) or Reply()
    for key, n, _ in reply.calls:
        all_of_it[key].story.take_back(n)
    return Surroundings(
        name=database, is_owned=True, now_ms=now_ms, unserved=frozenset(reply.unserved),
        slots=offered | {(key, n): why for key, n, why in reply.calls},
        held=frozenset(reply.held), trouble=reply.trouble, barred=barred.why,
        is_lost=barred.is_lost,
    )  # fmt: skip


def held_back(
    database: str, begun: Collection[tuple[int, int]]
) -> Mapping[tuple[int, int], str]:
    """
    Ask the owner of a file which attempts on record have not started, and why.

    Args:
        database: The file.
        begun: Which calls have one: key of the execution, and n.
    """
    path = Path(database)
    if not begun or not is_owned(path):
        return {}
    reply = enquire(path, (), begun) or Reply()
    return {(key, n): why for key, n, why in reply.calls}
