"""Databases that other engines wrote: what ran in them is told, and nothing is run."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path
from typing import Any

import apsw
import pytest

from obelisk_ops.inspect.others import pickles
from tests.commands import Commands

DATA = Path(__file__).parent.parent / "data"

#: What Obelisk keeps of three executions: one that ended well, one that failed, one at work.
OBELISK = """
CREATE TABLE t_execution_log (
    execution_id TEXT, version INTEGER, created_at TEXT, variant TEXT, history_event_type TEXT,
    json_value TEXT, PRIMARY KEY (execution_id, version)
) STRICT;
CREATE TABLE t_join_set_response (id INTEGER PRIMARY KEY) STRICT;
CREATE TABLE t_state (
    execution_id TEXT PRIMARY KEY, ffqn TEXT, state TEXT, created_at TEXT, updated_at TEXT,
    component_type TEXT, intermittent_event_count INTEGER, last_lock_version INTEGER,
    result_kind TEXT
) STRICT;
INSERT INTO t_state VALUES
    ('E1', 'shop/order.fulfil', 'finished', '2026-11-26T09:00:00.000000000+00:00',
     '2026-11-26T09:00:01.000000000+00:00', 'workflow', 0, NULL, '"ok"'),
    ('E2', 'shop/order.fulfil', 'finished', '2026-11-26T09:00:02Z', '2026-11-26T09:00:03Z',
     'workflow', 0, NULL, '{"err":{"execution_failure":"timed_out"}}'),
    ('E3.o:1', 'shop/pay.charge', 'locked', '2026-11-26T09:00:04Z', '2026-11-26T09:00:05Z',
     'activity_wasm', 2, 1, NULL);
INSERT INTO t_execution_log VALUES
    ('E2', 0, '2026-11-26T09:00:02Z', 'created', NULL, '{"created":{"params":[7]}}'),
    ('E2', 1, '2026-11-26T09:00:03Z', 'finished', NULL, '{"finished":{"reason":"too late"}}'),
    ('E3.o:1', 0, '2026-11-26T09:00:04Z', 'created', NULL, '{"created":{"params":[8]}}'),
    ('E3.o:1', 1, '2026-11-26T09:00:04.500Z', 'locked', NULL, '{"locked":{}}');
"""


def made(path: Path, statements: str) -> Path:
    connection = apsw.Connection(str(path))
    connection.execute(statements).fetchall()
    connection.close()
    return path


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "no.yml")


def told_of(commands: Commands, database: Path, *options: str) -> dict[str, Any]:
    told: dict[str, Any] = commands.run("inspect", database, *options, "--json").told
    return told


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return made(tmp_path / "shop.db", (DATA / "dbos.sql").read_text())


@pytest.fixture
def obelisk(tmp_path: Path) -> Path:
    return made(tmp_path / "obelisk.db", OBELISK)


def test_a_database_of_dbos_is_told(shop: Path, commands: Commands) -> None:
    before = shop.read_bytes()

    told = told_of(commands, shop)

    assert (told["kind"], told["engine"]) == ("other", "dbos")
    assert told["executions"] == {"ERROR": 1, "SUCCESS": 1, "PENDING": 1}
    assert told["functions"]["parcel"] == {"PENDING": 1}
    [failed] = told["failures"]
    assert failed["execution_id"] == "order-2"
    assert failed["error"] == {"type": "ERROR", "message": "pickle: ValueError 'card declined'"}
    [running] = told["in_flight"]
    assert (running["execution_id"], running["activity"]) == ("parcel-1", "after step 1")
    assert shop.read_bytes() == before


def test_its_workflows_and_steps_are_listed(shop: Path, commands: Commands) -> None:
    failed = told_of(commands, shop, "--list", "--state", "ERROR")["executions"]
    newest = told_of(commands, shop, "--list", "--limit", "1")["executions"]
    steps = told_of(commands, shop, "--id", "order-2")["steps"]

    assert [row["execution_id"] for row in failed] == ["order-2"]
    assert [row["execution_id"] for row in newest] == ["parcel-1"]
    assert [(s["n"], s["name"], s["value"], s["error"]) for s in steps] == [
        (1, "reserve", "pickle: 'held gold'", None),
        (2, "charge", None, "pickle: ValueError 'card declined'"),
    ]
    assert steps[0]["began_at"] < steps[0]["ended_at"]


def test_one_of_an_older_version_has_fewer_columns(tmp_path: Path, commands: Commands) -> None:
    old = made(
        tmp_path / "old.db",
        """
        CREATE TABLE workflow_status (workflow_uuid TEXT PRIMARY KEY, status TEXT, name TEXT,
            error TEXT, created_at INTEGER, updated_at INTEGER, recovery_attempts INTEGER);
        CREATE TABLE operation_outputs (workflow_uuid TEXT, function_id INTEGER,
            function_name TEXT, output TEXT, error TEXT, child_workflow_id TEXT);
        CREATE TABLE workflow_events (workflow_uuid TEXT);
        INSERT INTO workflow_status VALUES ('w', 'ERROR', 'old', '{"message":"no"}', 1, 2, 1);
        INSERT INTO operation_outputs VALUES ('w', 1, 'step', '{"a":1}', NULL, 'w-1');
        """,
    )

    [failed] = told_of(commands, old)["failures"]
    [step] = told_of(commands, old, "--id", "w")["steps"]

    assert failed["error"]["message"] == '{"message":"no"}'
    assert (step["value"], step["child"], step["began_at"]) == ('{"a":1}', "w-1", None)


def test_a_database_of_obelisk_is_told(obelisk: Path, commands: Commands) -> None:
    told = told_of(commands, obelisk)
    steps = told_of(commands, obelisk, "--id", "E2")["steps"]

    assert told["engine"] == "obelisk"
    assert told["executions"] == {"finished": 2, "locked": 1}
    [failed] = told["failures"]
    assert failed["execution_id"] == "E2"
    assert "timed_out" in failed["error"]["message"]
    assert "too late" in failed["error"]["message"]
    [running] = told["in_flight"]
    assert (running["activity"], running["try"]) == ("activity_wasm", 3)
    assert running["since"] == "2026-11-26T09:00:04.500Z"
    assert [step["name"] for step in steps] == ["created", "finished"]


def test_names_alone_are_no_engine(tmp_path: Path, commands: Commands) -> None:
    mine = made(
        tmp_path / "mine.db",
        "CREATE TABLE workflow_status (x); CREATE TABLE operation_outputs (x);"
        "CREATE TABLE workflow_events (x); INSERT INTO workflow_status VALUES (1);",
    )

    told = told_of(commands, mine)

    assert told["engine"] is None
    assert [table["rows"] for table in told["tables"]] == [0, 0, 1]


def test_what_is_asked_of_the_wrong_database_says_what_to_ask(
    shop: Path, tmp_path: Path, commands: Commands
) -> None:
    plain = made(tmp_path / "plain.db", "CREATE TABLE t (x)")

    assert commands.run("inspect", shop, "--id", "nobody").status == 7
    refused = commands.run("inspect", plain, "--list")
    assert refused.status == 2
    assert "of no engine that is known" in refused.err


class Harm:
    """What a pickle can do to whoever loads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_a_hostile_pickle_is_described_and_not_loaded(shop: Path, commands: Commands) -> None:
    trace = shop.with_name("trace")
    harm = base64.b64encode(pickle.dumps(Harm(trace))).decode()
    connection = apsw.Connection(str(shop))
    connection.execute("UPDATE operation_outputs SET output = ?", (harm,)).fetchall()
    connection.close()

    steps = told_of(commands, shop, "--id", "order-1")["steps"]

    assert "Path.touch" in steps[0]["value"]
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (7, "7"), (None, "None"), (True, "True"), ("tea", "'tea'"), ([1, 2.5], "1 2.5"),
        ({"sku": 3}, "'sku' 3"), (ValueError("no card", 5), "ValueError 'no card' 5"),
        (list(range(50)), "0 1 2 3 4 5 6 7 8 9 10 11 …"),
    ],
)  # fmt: skip
def test_a_pickle_is_described(value: object, told: str, protocol: int) -> None:
    assert pickles.describe(pickle.dumps(value, protocol)) == told


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_pickle_that_is_cut_short_is_described_as_far_as_it_goes(cut: int) -> None:
    whole = pickle.dumps(ValueError("no card"))

    assert pickles.describe(whole[:-cut]).endswith("…")
