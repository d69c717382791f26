"""
The note that a database of some name is to come, before there is anything of it.

An empty prefix looks the same whether nothing was ever there or the prefix is wrong. Who
starts a program on a machine without its database may do so only where this note says
that it was expected, once, by a person; or where the whole bucket is empty, for then there
is no other place in it that could have been meant.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from obelisk_ops.errors import CredentialsError, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import MARKERS_FOLDER, ReplicaKeys, epoch_of_marker


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """
    What the bucket holds under a name.

    Attributes:
        was_opened: An epoch was opened: there was a database.
        is_expected: Somebody said that there will be one.
        strangers: Folders there that no marker speaks of.
        is_bucket_empty: There is nothing at all in the bucket, under any name.
    """

    was_opened: bool = False
    is_expected: bool = False
    strangers: tuple[str, ...] = ()
    is_bucket_empty: bool = False


def read_traces(store: ObjectStore, keys: ReplicaKeys) -> Traces:
    """Return what the bucket holds under a name, with three LISTs at most."""
    found = [info.key for info in store.list(keys.markers)]
    strangers = tuple(name for name in store.folders(keys.root) if name != MARKERS_FOLDER)
    return Traces(
        was_opened=any(epoch_of_marker(key) is not None for key in found),
        is_expected=keys.expectation in found,
        strangers=strangers,
        is_bucket_empty=not found and not strangers and _is_empty(store),
    )


def expect(store: ObjectStore, keys: ReplicaKeys, *, host: str, now_ms: int) -> None:
    """Leave the note, if nobody has."""
    body = msgspec.json.encode({"host": host, "expected_at_ms": now_ms})
    with suppress(PreconditionFailed):  # whoever was first has said the same
        store.put(keys.expectation, body, if_absent=True)


def _is_empty(store: ObjectStore) -> bool:
    try:
        return next(iter(store.list("")), None) is None
    except CredentialsError:
        return False  # who may list only his own prefix cannot know
