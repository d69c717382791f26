"""The systemd units, as far as their text shows, and as far as systemd's own tool is here."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.settings import Settings

FOLDER = Path(__file__).parents[2] / "litestream"
UNITS = sorted(FOLDER.glob("*.service"))
BARE = Settings(state_dir=Path("/"))
PROGRAM = Path(sys.executable).with_name("obelisk-ops")

unit_files = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def read(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    return parser["Service"]


def test_there_are_units() -> None:
    assert [unit.name for unit in UNITS] == ["obelisk-ops-supervise.service"]


@unit_files
def test_a_stop_fits_into_what_systemd_waits(unit: Path) -> None:
    service = read(unit)

    # Requests under way end after it, and the process itself.
    assert int(service["TimeoutStopSec"]) >= BARE.stop_timeout_s + 10
    assert service["KillMode"] == "mixed", (
        "Litestream is told to end by us, after its last sync"
    )
    assert service["KillSignal"] == "SIGTERM"


@unit_files
def test_systemd_hears_how_it_is(unit: Path) -> None:
    service = read(unit)

    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    # A database is given half of it for one look at S3 and disk.
    assert parse_duration(f"{service['WatchdogSec']}s") >= 30
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    # Usage, configuration, another supervisor: nothing that time heals.
    assert service["RestartPreventExitStatus"].split() == ["2", "3", "9"]


@unit_files
def test_it_has_few_rights_and_its_secrets_are_not_in_it(unit: Path) -> None:
    service = read(unit)

    assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["ReadWritePaths"]
    assert service["UMask"] == "0077"
    assert service["LoadCredential"].startswith("s3:/")
    assert "Environment=" not in unit.read_text()


@unit_files
def test_systemd_reads_it_as_we_do(unit: Path, tmp_path: Path) -> None:
    """Where systemd is not installed, what it would find is what the tests above look at."""
    here = tmp_path / unit.name
    lines = unit.read_text().splitlines()
    here.write_text(
        "\n".join(line.replace("/opt/obelisk-ops/bin", str(PROGRAM.parent)) for line in lines)
    )
    assert f"ExecStart={PROGRAM} " in here.read_text()

    if shutil.which("systemd-analyze"):
        assert analyze("verify", str(here)) == ""
        # "OK" begins at 5; a service that says nothing about itself gets 9.6.
        analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(here))


def analyze(*words: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr
