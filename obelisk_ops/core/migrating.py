"""
Tables of one version become those of a later one, while programs of both run.

Two numbers say what tables are: their version, and the oldest version whose programs can
work with them. A step that only adds leaves the second alone, and holds nobody up; one that
takes something away raises it, and waits for the end of those who would miss that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """
    One step.

    Attributes:
        version: The one that tables have behind it.
        does: What it does, for people.
        oldest: The oldest version whose programs can work with these tables, too.
        beside: Statements that hold nobody up, done first and each by itself; also once
            more, where a step was cut short.
        statements: The others: all are done, or none.
    """

    version: int
    does: str
    oldest: int
    beside: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    What tables say of themselves.

    Attributes:
        version: Their version.
        oldest: The oldest version whose programs can work with them.
    """

    version: int
    oldest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    A worker that lives.

    Attributes:
        host: Where it runs.
        pid: Its process there.
        knows: The newest version of the tables that it knows.
    """

    host: str
    pid: int
    knows: int

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is to be done.

    Attributes:
        version: That of the tables as they are; None if there are none.
        steps: What leads to the newest version, in order; of none that is one making.
        in_the_way: Who has to end before.
    """

    version: int | None
    steps: Sequence[Migration] = ()
    in_the_way: Sequence[Program] = ()

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self.version is None or bool(self.steps)


def newest(migrations: Sequence[Migration]) -> Standing:
    """Return what tables are that are made anew."""
    oldest = max((step.oldest for step in migrations), default=1)
    return Standing(version=migrations[-1].version if migrations else 1, oldest=oldest)


def plan(
    standing: Standing | None, migrations: Sequence[Migration], alive: Iterable[Program]
) -> Plan:
    """
    Return what is to be done to tables.

    Args:
        standing: How they are; None if there are none.
        migrations: All that this program knows, in order.
        alive: Who works with them now.
    """
    if standing is None:
        return Plan(version=None)
    steps = [step for step in migrations if step.version > standing.version]
    oldest = max((step.oldest for step in steps), default=0)
    return Plan(
        version=standing.version,
        steps=steps,
        in_the_way=[one for one in alive if one.knows < oldest],
    )
