"""What is there at once may be awaited: nothing pauses, and it is the thing itself."""

from __future__ import annotations

from obelisk_ops.core.ports import State, StateRow
from obelisk_ops.core.ready import Listing, Ready


def awaited(ready: Ready) -> object:
    """Await without an event loop: whatever pauses is caught."""
    try:
        paused = next(ready.__await__())
    except StopIteration as end:
        return end.value
    raise AssertionError(f"it paused with {paused}")


def test_a_row_is_itself() -> None:
    row = StateRow(key=1, id="e", function="f", state=State.RUNNING, created_at=0)

    assert awaited(row) is row


def test_a_listing_is_a_list_and_itself() -> None:
    listing = Listing([1, 2])

    assert awaited(listing) is listing
    assert listing == [1, 2]
