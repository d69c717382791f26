"""What leaves workflow code where it waits. No errors: ``except Exception`` lets them pass."""

from __future__ import annotations


class Interruption(BaseException):
    """Leaves workflow code where it waits. Not an Exception: it is not to be swallowed."""


class Cancelled(Interruption):
    """
    The execution was cancelled: raised once, where its code waits.

    Clean-up in ``finally`` may await activities. Let it pass, and the execution ends as
    cancelled; catch it, and the execution goes on.
    """


class TimedOut(Cancelled):
    """The execution took longer than its workflow's timeout."""
