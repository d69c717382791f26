"""Secrets are planted, everything goes wrong, and nothing that is written holds one."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml

from obelisk_ops.settings import ReplicaSettings
from tests.command import PROGRAM
from tests.commands import Commands
from tests.conftest import S3
from tests.hooks import Hook
from tests.supervised import Supervised
from tests.support import wait_until

pytestmark = pytest.mark.xdist_group("metrics")

SECRET, TOKEN = "canary/SECRET+0123456789", "canary/TOKEN+0123456789"
PATH = "canary-hook-path"
_LINES = (
    f"aws_access_key_id = CANARYID\naws_secret_access_key = {SECRET}\n"
    f"aws_session_token = {TOKEN}\n"
)


def private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield everything in a folder but the files that were given the secrets."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in {"keys", "hook"}:
            yield str(path), path.read_text(errors="replace")


# -- a supervisor whose keys are taken away ----------------------------------------------


def test_a_supervisor_tells_nobody(tmp_path: Path, replica: ReplicaSettings, s3: S3) -> None:
    keys = tmp_path / "keys"
    private(keys, s3.credentials_file.read_text())
    with (
        Hook() as hook,
        Supervised(tmp_path, replace(replica, credentials=f"file:{keys}")) as supervised,
    ):
        private(tmp_path / "hook", f"{hook.address}/{PATH}")
        configure(supervised.config)
        database = supervised.database("a")
        database.write()
        supervised.start()
        supervised.until_safe("a")

        keys.write_text(f"[default]\n{_LINES}")
        supervised.tell(signal.SIGHUP)
        database.write()
        supervised.until("a", lambda row: row.reason == "credentials", 15, "keys are refused")
        wait_until(lambda: hook.alerts, 10, "it is told")
        texts = dict(around(supervised)) | {"webhook": hook.posted[0][2].decode()}
        _, texts["farewell"] = supervised.stop()
        texts |= dict(written(tmp_path))

    assert {"arguments", "metrics", "status", "check", "webhook"} <= set(texts)
    for secret in (SECRET, TOKEN, PATH, s3.secret_key):
        assert [place for place, text in texts.items() if secret in text] == []


def configure(config: Path) -> None:
    settings = yaml.safe_load(config.read_text())
    settings |= {
        "metrics": {"listen": "127.0.0.1:0"},
        "alerts": {"webhook": "file:hook", "after": "100ms"},
    }
    config.write_text(yaml.safe_dump(settings))


def around(supervised: Supervised) -> Iterator[tuple[str, str]]:
    """Yield what others see of a supervisor that runs."""
    process = psutil.Process(supervised.pid)
    everybody = [process, *process.children(recursive=True)]
    yield "arguments", " ".join(" ".join(each.cmdline()) for each in everybody)
    connection = http.client.HTTPConnection(
        "127.0.0.1", supervised.logged("metrics")[0]["port"], timeout=60
    )
    connection.request("GET", "/metrics")
    yield "metrics", connection.getresponse().read().decode()
    for words in (["status", "--json"], ["check", "--json"], ["config", "show"]):
        command = [str(PROGRAM), "-c", str(supervised.config), "--debug", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.stdout
        yield words[0], done.stdout + done.stderr


# -- commands, for each place that secrets come from -------------------------------------


@pytest.mark.parametrize(
    ("place", "endpoint"), [("env", "refuses"), ("file", "is dead"), ("profile", "refuses")]
)
def test_commands_tell_nobody(
    place: str, endpoint: str, tmp_path: Path, replica: ReplicaSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    private(tmp_path / "keys", f"[{'mine' if place == 'profile' else 'default'}]\n{_LINES}")
    if place == "env":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARYID")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("THE_HOOK", f"https://hooks.example.org/{PATH}")
    form = {"env": "env", "file": f"file:{tmp_path}/keys", "profile": "profile:mine"}[place]
    config = tmp_path / "obelisk-ops.yml"
    settings = {
        "replica": {
            "url": replica.url, "credentials": form, "region": "us-east-1",
            "endpoint": replica.endpoint if endpoint == "refuses" else "http://127.0.0.1:1",
        },
        "databases": [{"path": "a.db"}],
        "alerts": {"webhook": "env:THE_HOOK"},
    }  # fmt: skip
    config.write_text(yaml.safe_dump(settings))
    commands = Commands(config)
    status = 11 if endpoint == "refuses" else 6

    texts = {}
    for words, wanted in (
        (("check", "--nagios"), 2),
        (("restore", "a", "--to", str(tmp_path / "b.db"), "--json"), status),
        (("status", "--json"), 4), (("config", "show"), 0), (("config", "litestream", "a"), 0),
        (("policy", "--role", "writer"), 0),
    ):  # fmt: skip
        ran = commands.run("--debug", *words)
        assert ran.status == wanted, ran
        texts[" ".join(words)] = ran.out + ran.err
    texts |= dict(written(tmp_path))

    for secret in (SECRET, TOKEN, PATH):
        assert [name for name, text in texts.items() if secret in text] == []
