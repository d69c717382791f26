"""Retention as users see it: ``engine.prune(…)``."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NoReturn

import msgspec

from obelisk_ops.core import retention
from obelisk_ops.core.clock import Clock
from obelisk_ops.core.ports import LogReader, Result
from obelisk_ops.core.retention import Group, Report, Wanted
from obelisk_ops.core.rows import ALL
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.owner import Owner
from obelisk_ops.durable.scheduling import as_ms
from obelisk_ops.durable.unattended import prune_unattended
from obelisk_ops.errors import InvalidInput
from obelisk_ops.storage import Address, open_archive

MONTH = timedelta(days=30)
_POLL_S = 0.02
_LOOKS_FOR_AN_OWNER = 50
_FAILURES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """
    What was forgotten, or would be.

    Attributes:
        applied: Whether it was.
        executions: How many, children included.
        events: Of their logs.
        bytes: About how much of the file they filled.
        groups: The same by function and result.
        kept: How many of those that were asked for stay, by reason.
    """

    applied: bool
    executions: int
    events: int
    bytes: int
    groups: tuple[Group, ...]
    kept: dict[str, int]


class Housekeeping:
    """The part of Engine that is about retention."""

    path: Address
    _clock: Clock
    _serve: bool | Literal["activities"]
    _owner: Owner | None

    def _reader(self) -> LogReader:
        raise NotImplementedError

    async def ask(self, kind: str, target: str, body: str = "{}") -> bool:
        """See Source.ask."""
        raise NotImplementedError

    async def failed(self) -> NoReturn:
        """See Engine.failed."""
        raise NotImplementedError

    async def prune(
        self,
        *,
        older_than: timedelta = MONTH,
        result: str | Collection[str] = (),
        function: Workflow[..., Any] | str = "",
        keep: int = 0,
        apply: bool = False,
    ) -> Pruned:
        """
        Forget executions that are over, with all their children; say what that is.

        Never what is unfinished, nor what that needs. Their ids are free again.

        Args:
            older_than: Only what ended longer ago.
            result: Only what ended like this: ``ok``, ``error``, ``cancelled``,
                ``timed_out``, or several of them.
            function: Only executions of this workflow.
            keep: So many of each workflow stay, the newest.
            apply: Do it; otherwise only say what would go.

        Raises:
            InvalidInput: A value is none.
        """
        results = (result,) if isinstance(result, str) else tuple(result)
        _check(results, keep)
        wanted = Wanted(
            before=self._clock.now_ms() - as_ms(older_than, "older_than"),
            upto=0,
            results=results,
            function=function.name if isinstance(function, Workflow) else function,
        )
        self._reader()  # it is running
        wanted, found = await asyncio.to_thread(_survey, self.path, wanted, keep)
        if not apply or not found.executions:
            return _told(found, Report(), applied=apply)
        body = retention.encode(wanted)
        await self.ask(retention.KIND, "", body)
        await self._answered(body)
        _, left = await asyncio.to_thread(_survey, self.path, wanted, 0)
        return _told(found, left, applied=True)

    async def _answered(self, body: str) -> None:
        looks = failures = 0
        with closing(open_archive(self.path)) as archive:
            while any(one.body == body for one in archive.letters(ALL)):
                if self._serve is not True and looks % _LOOKS_FOR_AN_OWNER == 0:
                    await prune_unattended(self.path)
                looks += 1
                failures = failures + 1 if self._owner and self._owner.has_failed else 0
                if failures > _FAILURES_MAX:
                    await self.failed()
                await asyncio.sleep(_POLL_S)


def _check(results: tuple[str, ...], keep: int) -> None:
    known = [str(result) for result in Result]
    strange = [name for name in results if name not in known]
    if strange:
        raise InvalidInput(f"{strange[0]!r} is no result", hint=f"one of {', '.join(known)}")
    if keep < 0:
        raise InvalidInput(f"keep={keep} is negative", hint="give how many stay, or 0")


def _survey(path: Address, wanted: Wanted, keep: int) -> tuple[Wanted, Report]:
    """Read beside the thread that drives workflows, on a connection of its own."""
    with closing(open_archive(path)) as archive:
        if not wanted.upto:
            newest = archive.newest_roots(keep) if keep else {}
            wanted = msgspec.structs.replace(wanted, upto=archive.last_key(), newest=newest)
        return wanted, retention.survey(archive, wanted)


def _told(found: Report, left: Report, *, applied: bool) -> Pruned:
    groups = []
    for kind, group in sorted(found.groups.items()):
        rest = left.groups.get(kind)
        if rest is not None:
            group.executions -= rest.executions
            group.events -= rest.events
            group.bytes -= rest.bytes
        groups.append(group)
    return Pruned(
        applied=applied,
        executions=sum(group.executions for group in groups),
        events=sum(group.events for group in groups),
        bytes=sum(group.bytes for group in groups),
        groups=tuple(groups),
        kept={str(reason): count for reason, count in found.kept.items()},
    )
