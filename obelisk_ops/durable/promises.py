"""Which executions are acknowledged only when the bucket holds them."""

from __future__ import annotations

from typing import Any

from obelisk_ops.core.barrier import Replication
from obelisk_ops.core.ports import LogStore
from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.durable.flow.registry import Registry
from obelisk_ops.durable.roster import Roster


class Promises:
    """What the engine promises, and where a workflow says otherwise."""

    def __init__(
        self, replication: Replication, store: LogStore, registry: Registry, roster: Roster
    ) -> None:
        self._by_default = replication.is_replicated
        self._store, self._registry, self._roster = store, registry, roster

    def waits(self, function: Workflow[Any, Any] | None) -> bool:
        """Return whether what is said of executions of a workflow waits for the bucket."""
        given = function.replicated if function is not None else None
        return self._by_default if given is None else given

    def of(self, execution_id: str) -> bool:
        """Return the same of one execution; of no execution ("") what the engine says."""
        live = self._roster.find(execution_id)
        if live is not None:
            return live.waits
        row = self._store.find(execution_id) if execution_id else None
        return self.waits(self._registry.get(row.function) if row is not None else None)
