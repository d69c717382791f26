"""What there is, as users see it: ``engine.list(…)``, and what handles read."""

from __future__ import annotations

from pathlib import Path

from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter, LogReader, StateRow
from obelisk_ops.durable.supervised import prove
from obelisk_ops.errors import ExecutionNotFound

_PROOF_S = 2.0


class Looking:
    """The part of Engine that reads."""

    path: Path

    def _reader(self) -> LogReader:
        raise NotImplementedError

    def find(self, execution_id: str) -> StateRow | None:
        """Return where an execution is, if there is one."""
        return self._reader().find(execution_id)

    def row(self, execution_id: str) -> StateRow:
        """See Source.row."""
        row = self.find(execution_id)
        if row is None:
            raise ExecutionNotFound(
                f"{self.path} has no execution {execution_id!r}",
                hint=f"see what there is: obelisk-ops execution list --db {self.path}",
            )
        return row

    def read_log(self, execution_id: str) -> list[Event]:
        """See Source.read_log."""
        return self._reader().log(self.row(execution_id).key)

    async def safe_version(self, execution_id: str) -> int | None:
        """See Source.safe_version."""
        version = self._reader().last(self.row(execution_id).key).version
        return version if await prove(self.path, _PROOF_S) else None

    def list(
        self,
        *,
        state: str | None = None,
        function: str | None = None,
        since: int | None = None,
        error: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[StateRow]:
        """
        Return executions in the order of their creation.

        Args:
            state: Only those in this state.
            function: Only those of this workflow.
            since: Only those created since; UTC milliseconds.
            error: Only those whose error has this text in it.
            after: Only those created after this execution.
            limit: At most so many.
        """
        wanted = ExecutionFilter(
            state=state, function=function, since=since, error=error, after=after, limit=limit
        )
        return self._reader().executions(wanted)
