"""What is said of a backup that is not there: what is in its place, and what is near."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from obelisk_ops.core.words import meant
from obelisk_ops.errors import OpsError, ReplicaNotFound
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.epochs import has_marker
from obelisk_ops.replica.layout import MARKERS_FOLDER, ReplicaKeys, folder

#: So many folders are named, and looked into.
_MOST = 10


def not_found(store: ObjectStore, keys: ReplicaKeys) -> ReplicaNotFound:
    """Return the error that says that a backup is not there, and what is."""
    siblings = [name for name in _folders(store, folder(keys.prefix)) if name != keys.name]
    below = [
        name
        for name in islice(_folders(store, keys.root), _MOST)
        if has_marker(store, keys.root.rstrip("/"), name)
    ]
    if below:
        there, hint = f"there are backups below it: {', '.join(below)}", "name one of those"
    else:
        there, hint = _instead(store, keys), _near(store, keys, siblings)
    return ReplicaNotFound(
        f"the bucket holds no backup named '{keys.name}': {there}",
        hint=f"{hint}; see what there is below replica.url: obelisk-ops replica list",
    )


def _instead(store: ObjectStore, keys: ReplicaKeys) -> str:
    found = next(iter(store.list(keys.root)), None)
    if found is None:
        return f"nothing is at {keys.root}"
    return f"what is at {keys.root} is none, as {found.key}"


def _near(store: ObjectStore, keys: ReplicaKeys, siblings: list[str]) -> str:
    guess = meant(keys.name, siblings)
    if guess or siblings:
        return f"{guess}at {folder(keys.prefix) or 'the top'} there are: {_named(siblings)}"
    tops = list[str]()
    with suppress(OpsError):  # not everybody may look there
        tops = _folders(store, "")
    return f"is it the right prefix? At the top of the bucket there are: {_named(tops)}"


def _folders(store: ObjectStore, prefix: str) -> list[str]:
    return [name for name in store.folders(prefix) if name != MARKERS_FOLDER]


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{', '.join(names[:_MOST]) or 'no folders'}{more}"
