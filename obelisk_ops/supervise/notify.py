"""
Tells a service manager how the supervisor is: the protocol of ``sd_notify``.

Each message is one datagram of ``NAME=value`` lines. Nobody answers, and a manager
that is not there, or does not read, never holds up the supervisor.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress

from obelisk_ops.core.clock import Clock, monotonic_us
from obelisk_ops.settings import ServiceManager

#: Without a watchdog, how often the line of status is brought up to date.
_STATUS_S = 5.0
#: Work that is done once a second is not missed before that, however short the watchdog's time.
_PATIENCE_MS = 3_000
_MICROSECONDS = 1_000_000
#: Of a status line; the manager shows one line, and a datagram has a limit.
_STATUS_LENGTH_MAX = 500


class Notifier:
    """What is said to the service manager, if there is one."""

    def __init__(self, manager: ServiceManager | None, clock: Clock) -> None:
        self._manager, self._clock = manager, clock
        self._socket: socket.socket | None = None
        self._said = ""

    @property
    def pause_s(self) -> float:
        """How often ``pulse`` is to be called: three times in the time of the watchdog."""
        watchdog_s = self._manager.watchdog_s if self._manager else None
        return min(_STATUS_S, watchdog_s / 3) if watchdog_s else _STATUS_S

    @property
    def patience_ms(self) -> int | None:
        """How old the work of a live supervisor may be; None if no watchdog asks for it."""
        watchdog_s = self._manager.watchdog_s if self._manager else None
        return max(round(watchdog_s * 500), _PATIENCE_MS) if watchdog_s else None

    def ready(self) -> None:
        """Say that it has started, or that a reload has ended."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is read again; ``ready`` is to follow."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_us()}")

    def stopping(self, within_s: float) -> None:
        """Say that it stops, and ask for the time that this may take."""
        self._send("STOPPING=1", f"EXTEND_TIMEOUT_USEC={round(within_s * _MICROSECONDS)}")

    def pulse(self, status: str, *, is_alive: bool) -> None:
        """Say how it is if that has changed, and that it lives if somebody watches."""
        words = " ".join(status.split())[:_STATUS_LENGTH_MAX]
        lines = [] if words == self._said else [f"STATUS={words}"]
        if is_alive and self.patience_ms is not None:
            lines.append("WATCHDOG=1")
        if lines:
            self._send(*lines)
        self._said = words

    def is_alive(self, worked_ms: Iterable[int]) -> bool:
        """
        Tell whether all of its work went on lately.

        Args:
            worked_ms: When each part of it was last done, by ``Clock.elapsed_ms``.
        """
        oldest_ms = min(worked_ms, default=None)
        if oldest_ms is None or self.patience_ms is None:
            return True
        return self._clock.elapsed_ms() - oldest_ms <= self.patience_ms

    async def keep_telling(
        self, status: Callable[[], str], worked_ms: Callable[[], Iterable[int]]
    ) -> None:
        """Say that it is ready, then how it is, and that it lives while its work goes on."""
        self.ready()
        while True:
            self.pulse(status(), is_alive=self.is_alive(worked_ms()))
            await asyncio.sleep(self.pause_s)

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._manager is None:
            return
        # A manager that restarts makes its socket anew: each message finds the present one.
        with suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(0)
            self._socket.sendto("\n".join(lines).encode(), self._manager.address)
