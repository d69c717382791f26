"""Reports of runs that never ran, as the command makes them of a database."""

from __future__ import annotations

from obelisk_ops.core.fold import fold
from obelisk_ops.core.history import History
from obelisk_ops.core.ports import Output, State, StateRow
from obelisk_ops.core.why import Situation
from obelisk_ops.inspect.dossier import Dossier
from obelisk_ops.report.building import Setting, build
from obelisk_ops.report.model import Report, RestorePoint
from tests.runs import BEGIN, Step, history

#: what breaks a page, a terminal, or a line, if it is let through
NASTY = (
    '</pre></style><script>alert(1)</script><img src=x onerror="x()"> &lt; '
    "\x1b[31m \u202eevil\u2066 \x00 \u200b"
)


def dossier(told: History, outputs: tuple[Output, ...] = ()) -> Dossier:
    has_ended = told.events[-1].kind == "finished"
    row = StateRow(
        key=1, id=told.execution_id, function=told.function, created_at=BEGIN,
        state=State.FINISHED if has_ended else State.BLOCKED,
    )  # fmt: skip
    situation = Situation(row=row, story=fold(told.events))
    return Dossier(
        situation=situation, history=told, outputs=outputs, parent_id=None, children={}
    )


def report(told: History, outputs: tuple[Output, ...] = ()) -> Report:
    sheet = build(dossier(told, outputs), Setting(database="runs.db", as_of=0, places={}))
    point = RestorePoint(name="runs", epoch=1, txid=7, at=BEGIN)
    return Report(program="1", written_at=BEGIN, database="runs.db", restore_point=point,
                  sheets=(sheet,))  # fmt: skip


def nasty_run() -> History:
    error = {"type": NASTY, "message": NASTY, "traceback": NASTY, "hint": NASTY}
    steps: list[Step] = [
        (1, "intended", {"n": 1, "fn": NASTY, "in": [NASTY], "try": 1, "queue": NASTY}),
        (2, "attempt_failed", {"n": 1, "try": 1, "error": error, "retry_at": 3}),
        (3, "attempt_started", {"n": 1, "try": 2}),
        (4, "returned", {"n": 1, "ok": {NASTY: NASTY}}),
        (5, "patched", {"name": NASTY}),
        (6, "child_created", {"n": 2, "id": NASTY, "fn": NASTY, "in": []}),
        (9, "finished", {"error": error}),
    ]
    return history(steps, name=NASTY, given=[NASTY], digest=NASTY)
