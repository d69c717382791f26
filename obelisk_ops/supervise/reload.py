"""
Decide what of the running fleet a new configuration touches.

Pure. Whoever is not named here goes on as it is: same process, same epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import ReplicaSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """
    What a new configuration changes.

    Attributes:
        is_elsewhere: The replicas lie in another place: every database begins anew there.
        is_otherwise: Processes are started with other settings, where these concern them.
        added: Databases that are looked after from now on.
        removed: Those that no longer are.
        moved: Those whose file is another one.
        later: What takes effect only when the supervisor is started again.
    """

    is_elsewhere: bool
    is_otherwise: bool
    added: frozenset[str]
    removed: frozenset[str]
    moved: frozenset[str]
    later: tuple[str, ...]

    @property
    def retired(self) -> frozenset[str]:
        """Databases whose present process has to let go of them."""
        return self.removed | self.moved


def compare(
    before: Settings,
    after: Settings,
    *,
    present: Mapping[str, Path],
    wanted: Mapping[str, Path],
) -> Changes:
    """
    Return what *after* changes.

    Args:
        before: The settings in force.
        after: Those that were read now.
        present: The databases that are looked after, by name.
        wanted: Those that *after* means.

    Raises:
        ConfigError: It names no replica.
    """
    if after.replica is None or before.replica is None:
        raise ConfigError("the configuration names no replica any more")
    return Changes(
        is_elsewhere=_place(before.replica) != _place(after.replica),
        is_otherwise=before.litestream != after.litestream,
        added=frozenset(wanted.keys() - present.keys()),
        removed=frozenset(present.keys() - wanted.keys()),
        moved=frozenset(n for n in present.keys() & wanted.keys() if present[n] != wanted[n]),
        later=tuple(_later(before, after)),
    )


def _place(replica: ReplicaSettings) -> ReplicaSettings:
    # Whose keys open it says nothing about which bucket it is.
    return replace(replica, credentials="")


def _later(before: Settings, after: Settings) -> list[str]:
    known = {
        "state_dir": (before.state_dir, after.state_dir),
        "host": (before.host, after.host),
        "lease.ttl": (before.lease_ttl_s, after.lease_ttl_s),
        "metrics": (before.metrics, after.metrics),
        "alerts": (before.alerts, after.alerts),
    }
    return [key for key, (old, new) in known.items() if old != new]
