"""
Tells people when a database is not well any more, and when it is again.

What is slow (an address that does not answer) runs beside the looking, and neither
holds up the supervisor. What cannot be delivered is tried a few times, then said in the
log and given up; while it lasts it is told again after ``repeat``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from obelisk_ops.core.clock import Clock
from obelisk_ops.monitor.channels import Channel, Undelivered
from obelisk_ops.monitor.damping import Case, Patience, Severity, severity, step
from obelisk_ops.monitor.message import Alert, alert, encode
from obelisk_ops.supervise.companion import View
from obelisk_ops.supervise.fleet import Log
from obelisk_ops.supervise.status import Row

#: The rests before each attempt to deliver.
_TRIES_S = (0.0, 1.0, 5.0, 30.0)
_LOOK_MIN_S, _LOOK_MAX_S = 0.25, 5.0


class Alerts:
    """Looks at the databases again and again, and hands on what there is to tell."""

    def __init__(
        self,
        patience: Patience,
        channels: Sequence[Channel],
        *,
        host: str,
        clock: Clock,
        log: Log,
    ) -> None:
        self._patience, self._clock = patience, clock
        self._cases: dict[str, Case] = {}
        self._couriers = [Courier(each, self._encode, log) for each in channels]
        self._host = host
        # Once: ``since`` is the same in every message about the same, to the millisecond.
        self._past_ms = clock.now_ms() - clock.elapsed_ms()

    async def run(self, view: View) -> None:
        """See Companion.run."""
        async with asyncio.TaskGroup() as tasks:
            for courier in self._couriers:
                tasks.create_task(courier.run())
            while True:
                alerts = self.look(view.rows())
                for courier in self._couriers:
                    courier.take(alerts)
                await asyncio.sleep(self._pause_s)

    @property
    def _pause_s(self) -> float:
        return min(max(self._patience.after_ms / 10_000, _LOOK_MIN_S), _LOOK_MAX_S)

    def look(self, rows: Sequence[Row]) -> list[Alert]:
        """Return what there is to tell after a look at all databases."""
        now_ms = self._clock.elapsed_ms()
        present = {row.name: row for row in rows}
        told = []
        for name in [*present, *(self._cases.keys() - present.keys())]:
            row = present.get(name)
            # What nobody has to back up any more is well.
            seen = _severity(row) if row else Severity.NONE
            case = self._cases.get(name, Case())
            patience = self._patience.with_reason(row.reason if row else "")
            case, notice = step(case, seen, now_ms=now_ms, patience=patience)
            self._cases[name] = case
            if notice:
                told.append(alert(name, row, notice, past_ms=self._past_ms))
            if row is None and not case.told:
                del self._cases[name]
        return told

    def _encode(self, alerts: Sequence[Alert]) -> bytes:
        return encode(alerts, host=self._host, at_ms=self._clock.now_ms())


def _severity(row: Row) -> Severity | None:
    return severity(row.state, row.reason, has_failed_drill=row.has_failed_drill)


class Courier:
    """Brings messages to one channel, one at a time."""

    def __init__(
        self, channel: Channel, encode: Callable[[Sequence[Alert]], bytes], log: Log
    ) -> None:
        self._channel, self._encode, self._log = channel, encode, log
        #: by database: what is told later replaces what was not yet told
        self._waiting: dict[str, Alert] = {}
        self._news = asyncio.Event()

    def take(self, alerts: Sequence[Alert]) -> None:
        """Take over what is to be told."""
        self._waiting |= {each.database: each for each in alerts}
        if self._waiting:
            self._news.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            alerts = list(self._waiting.values())
            self._waiting.clear()
            await self._deliver(alerts)

    async def _deliver(self, alerts: Sequence[Alert]) -> None:
        why = ""
        for rest_s in _TRIES_S:
            await asyncio.sleep(rest_s)
            try:
                await self._channel.send(self._encode(alerts))
            except Undelivered as error:
                why = str(error)
            else:
                names = [each.database for each in alerts]
                self._log.info("alert_sent", to=self._channel.name, databases=names)
                return
        self._log.warning("alert_failed", to=self._channel.name, error=why, tries=len(_TRIES_S))
