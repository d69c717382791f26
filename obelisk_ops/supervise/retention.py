"""Watches the clocks for a fleet, and says whether its processes may delete; see skew.py."""

from __future__ import annotations

from obelisk_ops.core.clock import Clock
from obelisk_ops.supervise.bucket import Bucket
from obelisk_ops.supervise.skew import AGREED_MS, may_delete, skew_ms, words_of_skew


class Retention:
    """Whether Litestream may delete what is old enough, by the clocks as they are now."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket, self._clock = bucket, clock
        self._before: bool | None = None

    @property
    def skew_ms(self) -> int | None:
        """How far this clock is ahead of the bucket's, behind if negative; None: not known."""
        now_ms, elapsed_ms = self._clock.now_ms(), self._clock.elapsed_ms()
        return skew_ms(self._bucket.time, now_ms=now_ms, elapsed_ms=elapsed_ms)

    def may_delete(self) -> bool:
        """Look at the clocks, and tell."""
        skew = self.skew_ms
        decided = may_delete(skew, before=self._before)
        if skew is not None:
            self._before = decided
        return decided

    @property
    def words(self) -> str:
        """Why nothing is deleted now; empty if it is."""
        if self.may_delete():
            return ""
        until = f"until they agree within {AGREED_MS // 1000} s"
        return f"{words_of_skew(self.skew_ms)}: Litestream deletes nothing {until}"
