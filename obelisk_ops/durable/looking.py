"""What there is, as users see it: ``engine.list(…)``, and what handles read."""

from __future__ import annotations

from datetime import UTC, datetime

from obelisk_ops.core.events import Event
from obelisk_ops.core.ports import ExecutionFilter, LogReader, StateRow
from obelisk_ops.core.ready import Listing
from obelisk_ops.durable.supervised import prove
from obelisk_ops.errors import ExecutionNotFound, InvalidInput
from obelisk_ops.storage import Address

_PROOF_S = 2.0


class Looking:
    """The part of Engine that reads."""

    path: Address

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
        since: int | datetime | None = None,
        error: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Listing[StateRow]:
        """
        Return executions in the order of their creation: at once, and it may be awaited.

        Args:
            state: Only those in this state.
            function: Only those of this workflow.
            since: Only those created since; UTC milliseconds, or a moment with its zone.
            error: Only those whose error has this text in it.
            after: Only those created after this execution.
            limit: At most so many.
        """
        wanted = ExecutionFilter(
            state=state, function=function,
            since=_as_ms(since) if isinstance(since, datetime) else since,
            error=error, after=after, limit=limit,
        )  # fmt: skip
        return Listing(self._reader().executions(wanted))


def _as_ms(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise InvalidInput(
            f"since={moment} does not say in which time zone",
            hint="use an aware datetime, such as datetime.now(UTC) - timedelta(hours=1)",
        )
    return round(moment.astimezone(UTC).timestamp() * 1000)
