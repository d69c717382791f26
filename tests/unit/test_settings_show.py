"""`config show`: the settings in force, as text that loads again and as JSON."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from obelisk_ops.cli import main
from obelisk_ops.settings import load


def show(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "mine.yml"
    made.write_text(
        "replica: {url: s3://backups/a, credentials: file:keys}\n"
        "databases: [{path: runs/*.db}]\n"
        "litestream: {sync_interval: 1m30s}\n"
    )
    return made


def test_it_shows_what_was_left_out_too(file: Path) -> None:
    done = show("-c", str(file), "config", "show", "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "file": str(file),
        "replica": {
            "url": "s3://backups/a",
            "region": "us-east-1",
            "credentials": f"file:{file.parent}/keys",
        },
        "databases": [{"path": f"{file.parent}/runs/*.db", "name": "{stem}"}],
        "state_dir": f"{file.parent}/.obelisk-ops",
        "litestream": {
            "topology": "per-database",
            "databases_per_process": 150,
            "profile": "balanced",
            "sync_interval": "1m30s",
            "list_interval": "1m",
            "levels": ["30s", "5m", "1h"],
            "l0": {"retention": "10m", "check": "10m"},
            "snapshot": {"interval": "6h", "retention": "30d"},
        },
        "stop_timeout": "25s",
        "lease": {"ttl": "30s"},
        "host": platform.node(),
        "drill": {"every": "1d", "timeout": "1h"},
        "metrics": {"allow_remote": False, "hosts": []},
        "alerts": {"command": [], "after": "30s", "repeat": "4h"},
    }


def test_its_text_is_a_configuration_that_means_the_same(file: Path, tmp_path: Path) -> None:
    done = show("-c", str(file), "config", "show")
    again = tmp_path / "again.yml"
    again.write_text(done.stdout)

    assert done.stdout.startswith(f"# {file}")
    assert load(again).replica == load(file).replica
    assert load(again).databases == load(file).databases
    assert load(again).litestream == load(file).litestream


def test_it_needs_no_credentials_and_shows_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "HUSH")
    (file.parent / "keys").write_text("HUSH")

    assert "HUSH" not in show("-c", str(file), "config", "show").output


def test_without_a_file_it_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = show("config", "show", "--json")

    assert done.exit_code == 3
    assert done.stdout == ""
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "config"
    assert "OBELISK_OPS_CONFIG" in error["hint"]


def test_a_wrong_key_is_named_without_a_traceback(file: Path) -> None:
    file.write_text("litestream: {snapshot: {intervall: 6h}}\n")

    done = show("-c", str(file), "config", "show")

    assert done.exit_code == 3
    assert "litestream.snapshot.intervall: unknown key; nearest is 'interval'" in done.stderr
    assert "Traceback" not in done.output


def test_a_command_that_needs_no_configuration_reads_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "obelisk-ops.yml").write_text("nonsense: 1\n")

    assert show("s3", "serve", "--help").exit_code == 0
    assert show("--version").exit_code == 0


def test_litestreams_part_is_shown_by_the_name_of_a_database(file: Path) -> None:
    (file.parent / "runs").mkdir()
    (file.parent / "runs/exp.db").touch()

    done = show("-c", str(file), "config", "litestream", "exp")
    unknown = show("-c", str(file), "config", "litestream", "ex")

    assert done.exit_code == 0
    assert "path: a/exp/e0001" in done.stdout
    assert unknown.exit_code == 7
    assert "exp" in unknown.stderr
