"""
The keys of a replica. Nothing else in the program spells one.

    <prefix>/_obelisk/root.json                           that this prefix is a root
    <prefix>/_obelisk/hosts/<lease>.json                  that a supervisor lives
    <prefix>/<name>/_obelisk/owner.json                   which of them owns this replica
    <prefix>/<name>/_obelisk/e0001.json                   marker: who opened it, and where
    <prefix>/<name>/_obelisk/expected.json                a database of this name is to come
    <prefix>/<name>/e0001/0000/<min txid>-<max txid>.ltx  what Litestream writes, by level
    <prefix>/_obelisk/check/<id>/                         what `check` puts there, and removes

A marker sorts before every LTX file of its replica, so one page of a listing
finds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARKERS_FOLDER = "_obelisk"
HOSTS_FOLDER = f"{MARKERS_FOLDER}/hosts"
CHECK_FOLDER = f"{MARKERS_FOLDER}/check"
SNAPSHOT_LEVEL = 9

_MARKER = re.compile(r"e(\d{4,})\.json")
_EPOCH = re.compile(r"e([0-9]{4,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaKeys:
    """
    The keys of one database's replica.

    Attributes:
        prefix: The folder all replicas live in, without slashes at its ends; may be empty.
        name: The database's name.
    """

    prefix: str
    name: str

    @property
    def root(self) -> str:
        """The folder of everything that belongs to this replica."""
        return f"{folder(self.prefix)}{self.name}/"

    @property
    def markers(self) -> str:
        """The folder of the epoch markers."""
        return f"{self.root}{MARKERS_FOLDER}/"

    @property
    def ownership(self) -> str:
        """The key of the object that says whose this replica is."""
        return f"{self.markers}owner.json"

    def marker(self, epoch: int) -> str:
        """Return the key of the marker of one epoch."""
        return f"{self.markers}{epoch_name(epoch)}.json"

    @property
    def expectation(self) -> str:
        """The key of the note that a database of this name is to come."""
        return f"{self.markers}expected.json"

    def epoch(self, epoch: int) -> str:
        """Return the folder of one epoch's LTX files."""
        return f"{self.root}{epoch_name(epoch)}/"

    def level(self, epoch: int, level: int) -> str:
        """Return the folder of one level: 0 what was shipped, 1 to 8 compacted, 9 snapshots."""
        return f"{self.epoch(epoch)}{level:04x}/"


def folder(prefix: str) -> str:
    """Return *prefix* as the beginning of a key: with one slash at its end, or empty."""
    return f"{prefix}/" if prefix else ""


def root_marker(prefix: str) -> str:
    """Return the key of the object that makes *prefix* the root of all replicas below it."""
    return f"{folder(prefix)}{MARKERS_FOLDER}/root.json"


def leases(prefix: str) -> str:
    """Return the folder of the leases of all supervisors that write below *prefix*."""
    return f"{folder(prefix)}{HOSTS_FOLDER}/"


def lease(prefix: str, lease_id: str) -> str:
    """Return the key of one lease."""
    return f"{leases(prefix)}{lease_id}.json"


def lease_of_key(key: str) -> str:
    """Return the id of the lease that a key stands for."""
    return key.rpartition("/")[2].removesuffix(".json")


def epoch_name(epoch: int) -> str:
    """Return the folder name of an epoch, ``e0001``."""
    return f"e{epoch:04d}"


def epoch_of_marker(key: str) -> int | None:
    """Return the epoch that a marker's key stands for; None if it is no marker."""
    found = _MARKER.fullmatch(key.rpartition("/")[2])
    return int(found.group(1)) if found else None


def epoch_of_folder(name: str) -> int | None:
    """Return the epoch that a folder's name stands for; None if it is none's."""
    found = _EPOCH.fullmatch(name)
    return int(found.group(1)) if found else None
