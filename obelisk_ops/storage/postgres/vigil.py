"""
Whether who waits for an answer stays awake for it, or sleeps until it comes.

A processor that is let go of has to be woken, and what it held of this process is gone by then:
the step behind the answer takes twice as long. So whoever asks for one thing after another
keeps looking, for the half of a millisecond within which a fast server answers. That is in vain
where the answer takes longer, and does harm where others want the processor. Either is noticed
when it happens twice in a row, and it is tried ever more rarely then; where it pays again it is
soon done for all again. One sync that takes long says little of the next; and after a sleep the
server's process may be on this very processor, and leaves it only when that is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from obelisk_ops.core.clock import monotonic_us

#: for so long at most nobody sleeps
AWAKE_US: Final = 500
#: whoever could not look for so long was not alone on the processor
PUSHED_US: Final = 50
#: how much more rarely it is tried then: to hold up others costs them, to wait in vain only us
_LATE, _PUSHED = 1, 3
#: where it never pays it is tried for one answer in two to the power of this, in pairs
_RAREST: Final = 6


class Vigil:
    """See the module. Of one connection."""

    def __init__(self, now_us: Callable[[], int] = monotonic_us) -> None:
        """Expect that it pays."""
        self._now_us = now_us
        self._doubt = self._asleep = 0
        self._was_in_vain = False

    def sees(self, look: Callable[[], object]) -> bool:
        """
        Stay awake for an answer, if that may pay; return whether it is there.

        Args:
            look: Tells at once whether it is.
        """
        if self._asleep:
            self._asleep -= 1
            return False
        is_there, is_alone = self._keep(look)
        is_in_vain = not (is_there and is_alone)
        if not is_in_vain:
            self._doubt //= 2
        elif self._was_in_vain:
            self._doubt = min(self._doubt + (_LATE if is_alone else _PUSHED), _RAREST)
            self._asleep = 2 * ((1 << self._doubt) - 1)
        self._was_in_vain = is_in_vain and not self._asleep
        return is_there

    def _keep(self, look: Callable[[], object]) -> tuple[bool, bool]:
        """Look until there is an answer, or no sense in it; was this process alone?"""
        began = before = self._now_us()
        while before - began < AWAKE_US:
            is_there, now = bool(look()), self._now_us()
            is_alone = now - before < PUSHED_US
            if is_there or not is_alone:
                return is_there, is_alone
            before = now
        return False, True
