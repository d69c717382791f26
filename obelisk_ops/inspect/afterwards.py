"""What began after a moment: the attempts that a later state of a database knows of."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import msgspec

from obelisk_ops.core import ids
from obelisk_ops.errors import VerificationFailed
from obelisk_ops.inspect.summary import InFlight
from obelisk_ops.storage import sql

_SQL = sql.load("obelisk_ops.inspect", "queries.sql")


class _Begun(msgspec.Struct):
    n: int
    fn: str = ""
    attempt: int = msgspec.field(name="try", default=0)


_decode = msgspec.json.Decoder(_Begun).decode


def attempts_since(earlier: apsw.Connection, later: apsw.Connection) -> Iterator[InFlight]:
    """
    Return the attempts on record in *later* that *earlier*, from which it descends, lacks.

    What had ended in *earlier* is not looked at again: reading *later* may cost requests.

    Raises:
        VerificationFailed: A log holds something else than this program writes.
    """
    ended = {row[0] for row in earlier.execute(_SQL["ended"])}
    reached = {str(row[0]): int(row[1]) for row in earlier.execute(_SQL["reached"])}
    for key, name, function in later.execute(_SQL["all_executions"]).fetchall():
        execution_id = str(name)
        if execution_id in ended:
            continue
        last = reached.get(execution_id, -1)
        names: dict[int, str] = {}
        for version, at, kind, body in later.execute(_SQL["begun"], (key,)):
            try:
                begun = _decode(body)
            except msgspec.DecodeError as wrong:
                raise VerificationFailed(
                    f"the log of execution {key} cannot be read: {wrong}"
                ) from None
            if kind == "intended":
                names[begun.n] = begun.fn
            if version > last and begun.attempt:
                yield InFlight(
                    key=int(str(key)), n=begun.n,
                    execution_id=execution_id, call_id=ids.derived(execution_id, begun.n),
                    function=str(function), activity=names.get(begun.n, ""),
                    attempt=begun.attempt, since_ms=at,
                )  # fmt: skip
