"""
The root of all replicas below one prefix: founded once, in no other and around no other.

Two roots of which one lies in the other would take each other's folders for replicas. So
whoever founds one writes its object first, and looks around then: of two that are founded
at the same time, at least one sees the other.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress
from itertools import islice

from obelisk_ops.errors import CredentialsError, Fenced, ObjectNotFound, PreconditionFailed
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.layout import MARKERS_FOLDER, epoch_of_marker, folder, root_marker

#: So many folders are looked into, once in the life of a prefix, and so many loose objects.
_FOLDERS_MAX = 2_000
_OBJECTS_MAX = 1_000
_HINT = "choose a prefix of its own in replica.url, such as s3://bucket/experiments"


#: How its object begins while it is looked around, and what it is afterwards.
_FOUNDING, _FOUNDED = b'{"checked": false', b"{}"


def exists(store: ObjectStore, prefix: str) -> bool:
    """Tell whether *prefix* is a root, and was looked around."""
    try:
        return not store.get(root_marker(prefix)).body.startswith(_FOUNDING)
    except ObjectNotFound:
        return False


def found(store: ObjectStore, prefix: str) -> None:
    """
    Make *prefix* a root, if it is none yet.

    Raises:
        Fenced: It lies in another one, or another one in it; or it is a whole bucket that
            holds what is not ours.
        PreconditionFailed: Others have just given it up; try again.
    """
    if exists(store, prefix):
        return
    marker = root_marker(prefix)
    _refuse_replica(store, prefix)
    if not prefix:
        _refuse_loose(store)
    etag = _announce(store, marker)
    try:
        _refuse_above(store, prefix)
        _refuse_below(store, prefix)
    except Fenced:
        store.delete(marker)
        raise
    # Said last: a look that was cut short does not count.
    try:
        store.put(marker, _FOUNDED, if_match=etag)
    except PreconditionFailed:
        if not exists(store, prefix):  # who founds it too has seen what we have not
            raise


def _announce(store: ObjectStore, marker: str) -> str:
    try:
        body = _FOUNDING + f', "mark": "{secrets.token_hex(8)}"}}'.encode()
        return store.put(marker, body, if_absent=True)
    except PreconditionFailed:
        # Another one founds it too, or has died before he had looked.
        return store.get(marker).info.etag


def _refuse_replica(store: ObjectStore, prefix: str) -> None:
    inside = store.list(f"{folder(prefix)}{MARKERS_FOLDER}/")
    if any(epoch_of_marker(info.key) is not None for info in inside):
        raise Fenced(f"'{prefix}' is the replica of a database", hint=_HINT)


def _refuse_loose(store: ObjectStore) -> None:
    for info in islice(store.list(""), _OBJECTS_MAX):
        if "/" not in info.key:
            raise Fenced(f"the bucket holds '{info.key}', which is not ours", hint=_HINT)


def _refuse_above(store: ObjectStore, prefix: str) -> None:
    parts = prefix.split("/") if prefix else []
    for depth in range(len(parts)):
        above = "/".join(parts[:depth])
        # Keys that are good for this prefix alone see nothing above it, and do no harm there.
        with suppress(CredentialsError):
            if next(store.list(f"{folder(above)}{MARKERS_FOLDER}/"), None) is not None:
                where = f"'{above}'" if above else "the root of the bucket"
                raise Fenced(f"'{prefix}' lies in {where}, which is in use", hint=_HINT)


def _refuse_below(store: ObjectStore, prefix: str) -> None:
    folders = deque([folder(prefix)])
    for _ in range(_FOLDERS_MAX):
        if not folders:
            return
        place = folders.popleft()
        for name in store.folders(place):
            if name == MARKERS_FOLDER:
                continue
            inside = f"{place}{name}/"
            ours = {info.key for info in store.list(f"{inside}{MARKERS_FOLDER}/")}
            if root_marker(inside.removesuffix("/")) in ours:
                raise Fenced(f"'{inside}' is in use as a prefix of its own", hint=_HINT)
            if ours:
                continue  # a replica
            if not prefix and next(store.list(inside), None) is not None:
                raise Fenced(f"the bucket holds '{inside}', which is not ours", hint=_HINT)
            folders.append(inside)
