"""What Litestream is told, byte for byte; it ignores what it does not know."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from obelisk_ops.errors import ConfigError
from obelisk_ops.litestream.config import Config, Database, Target, duration, to_yaml
from obelisk_ops.litestream.program import MINIMUM, parse_version
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import LitestreamSettings, ReplicaSettings
from obelisk_ops.supervise.launch import digest, litestream_config, replicated

FOLDER = Path(__file__).parents[2] / "litestream"
GOLDEN = FOLDER / "litestream.example.yml"

SETTINGS = LitestreamSettings()
DATABASE = replicated(
    Path("/var/lib/obelisk/runs/exp-17.db"),
    meta=Path("/var/lib/obelisk/runs/.exp-17.db-obelisk/meta-e0001"),
    keys=ReplicaKeys(prefix="experiments", name="exp-17"),
    epoch=1,
    replica=ReplicaSettings(
        bucket="backups",
        prefix="experiments",
        endpoint="http://127.0.0.1:9000",
        region="us-east-1",
        credentials="env",
    ),
    litestream=SETTINGS,
)
EXAMPLE = litestream_config([DATABASE], SETTINGS)


def test_the_example_is_what_is_generated() -> None:
    """UPDATE_GOLDEN=1 writes it anew."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(to_yaml(EXAMPLE))

    assert to_yaml(EXAMPLE) == GOLDEN.read_text()


def test_no_key_is_written_that_could_hold_a_secret() -> None:
    keys = set(_keys(yaml.safe_load(to_yaml(EXAMPLE))))

    assert not {key for key in keys if "secret" in key or "access" in key or "token" in key}


def test_aws_needs_no_endpoint() -> None:
    target = Target(bucket="b", path="p/db/e0001", region="eu-west-1")
    database = Database(path=Path("/db"), meta=Path("/meta"), target=target)
    config = Config(databases=(database,), socket=Path("/s"), metrics="127.0.0.1:1")

    (written,) = yaml.safe_load(to_yaml(config))["dbs"]

    assert written["replica"] == {
        "type": "s3", "bucket": "b", "path": "p/db/e0001", "region": "eu-west-1",
        "sync-interval": "1s",
    }  # fmt: skip


def test_a_path_with_a_dollar_is_written_as_it_is() -> None:
    database = replace(EXAMPLE.databases[0], path=Path("/runs/${HOME} 'x'.db"))

    written = yaml.safe_load(to_yaml(replace(EXAMPLE, databases=(database,))))

    assert written["dbs"][0]["path"] == "/runs/${HOME} 'x'.db"


def test_a_path_with_a_line_break_is_refused() -> None:
    database = replace(EXAMPLE.databases[0], path=Path("/runs/a\nb.db"))

    with pytest.raises(ConfigError, match="line break"):
        to_yaml(replace(EXAMPLE, databases=(database,)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1s"), (0.25, "250ms"), (90, "90s"), (120, "2m"), (3600, "1h"), (2592000, "720h"),
     (1.5, "1500ms"), (0, "0ms")],
)  # fmt: skip
def test_times_are_written_exactly(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("said", "version"),
    [("0.5.17\n", (0, 5, 17)), ("v0.5.17", (0, 5, 17)), ("litestream v1.2.3 (x)", (1, 2, 3)),
     ("(development build)", None), ("", None)],
)  # fmt: skip
def test_version_is_understood(said: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(said) == version


def test_the_pinned_version_is_recent_enough() -> None:
    pinned = parse_version((FOLDER / "litestream.version").read_text())

    assert pinned is not None
    assert pinned >= MINIMUM


def test_a_new_key_pair_or_interval_makes_another_process_necessary() -> None:
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    before = digest(EXAMPLE, env)

    assert digest(EXAMPLE, dict(reversed(env.items()))) == before
    assert digest(EXAMPLE, env | {"AWS_SECRET_ACCESS_KEY": "c"}) != before
    assert digest(replace(EXAMPLE, snapshot_interval_s=60), env) != before


@pytest.mark.parametrize(
    ("databases", "within_s", "each_s"), [(1, 10, 10), (5, 10, 2), (150, 10, 1), (3, 0.6, 0.6)]
)
def test_a_stop_stays_short_however_many_databases_a_process_has(
    databases: int, within_s: float, each_s: float
) -> None:
    settings = replace(SETTINGS, shutdown_sync_s=within_s)

    assert litestream_config([DATABASE] * databases, settings).shutdown_sync_s == each_s


def _keys(node: object) -> list[str]:
    if isinstance(node, dict):
        return [*map(str, node), *(key for value in node.values() for key in _keys(value))]
    return [key for item in node for key in _keys(item)] if isinstance(node, list) else []
