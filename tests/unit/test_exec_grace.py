"""What the command of ``exec`` gets of the time to stop."""

from __future__ import annotations

import pytest

from obelisk_ops.cli.exec import _grace_s
from obelisk_ops.errors import UsageError


@pytest.mark.parametrize(
    ("given", "stop_timeout_s", "grace_s"), [(None, 25, 10), (15.0, 25, 15), (0.0, 25, 0)]
)
def test_the_rest_is_for_the_last_sync(
    given: float | None, stop_timeout_s: float, grace_s: float
) -> None:
    assert _grace_s(given, stop_timeout_s) == grace_s


def test_what_would_leave_too_little_is_refused() -> None:
    with pytest.raises(UsageError, match="--grace 30s leaves too little of stop_timeout") as no:
        _grace_s(30, 25)

    assert no.value.hint.startswith("at most 15s; or raise stop_timeout")
