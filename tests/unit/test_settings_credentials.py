"""Credentials: where they come from, what is wrong with them, and that they are never shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from obelisk_ops.errors import CredentialsError
from obelisk_ops.settings import (
    Credentials,
    ReplicaSettings,
    child_environment,
    credential_environment,
    credentials,
)

REPLICA = ReplicaSettings(
    bucket="bucket", prefix="", endpoint=None, region="us-east-1", credentials="env"
)
PAIR = Credentials(access_key_id="ID", secret_access_key="HUSH")
KEYS = "aws_access_key_id = ID\naws_secret_access_key = HUSH\n"


def come_from(form: str) -> ReplicaSettings:
    return dataclasses.replace(REPLICA, credentials=form)


def private_file(folder: Path, text: str) -> Path:
    file = folder / "keys"
    file.touch(mode=0o600)
    file.write_text(text)
    return file


def test_neither_half_is_shown() -> None:
    pair = dataclasses.replace(PAIR, session_token="HUSH")

    assert "HUSH" not in f"{pair!r} {pair}"
    assert "ID" not in repr(pair).removeprefix("Credentials")


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "HUSH")
    assert credentials(REPLICA) == PAIR

    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    assert credentials(REPLICA) == dataclasses.replace(PAIR, session_token="TOKEN")
    assert credential_environment(REPLICA) == {
        "AWS_ACCESS_KEY_ID": "ID",
        "AWS_SECRET_ACCESS_KEY": "HUSH",
        "AWS_SESSION_TOKEN": "TOKEN",
    }


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_ACCESS_KEY_ID": "ID"}, "AWS_SECRET_ACCESS_KEY not set"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "HUSH"}, "AWS_ACCESS_KEY_ID not"),
        ({"AWS_ACCESS_KEY_ID": "ID", "AWS_SECRET_ACCESS_KEY": "HUSH\n"}, "a line break"),
    ],
    ids=["none", "no secret", "an empty id", "a line break"],
)
def test_what_is_missing_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(CredentialsError, match=named) as wrong:
        credentials(REPLICA)

    assert wrong.value.hint
    assert "HUSH" not in wrong.value.message + wrong.value.hint


def test_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = private_file(tmp_path, f"[other]\n\n[default]\n{KEYS}")

    assert credentials(come_from(f"file:{file}")) == PAIR


@pytest.mark.parametrize(("mode", "is_taken"), [(0o400, True), (0o440, True), (0o444, False)])
def test_what_systemd_hands_over_shows_its_access_list_as_a_group(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch, *, is_taken: bool
) -> None:
    file = private_file(tmp_path, f"[default]\n{KEYS}")
    file.chmod(mode)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    if is_taken:
        assert credentials(come_from(f"file:{file}")) == PAIR
        return
    with pytest.raises(CredentialsError, match="read by others"):
        credentials(come_from(f"file:{file}"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = private_file(tmp_path, f"[default]\n{KEYS}")
    file.chmod(mode)

    with pytest.raises(CredentialsError, match=f"read by others .mode {mode:04o}") as wrong:
        credentials(come_from(f"file:{file}"))

    assert "chmod 600" in wrong.value.hint


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("HUSH\n", "not written like a shared credentials file"),
        (f"{KEYS}", "not written like a shared credentials file"),
        ("[default]\nHUSH\n", "not written like a shared credentials file"),
        (f"[default]\n{KEYS}{KEYS}", "not written like a shared credentials file"),
        (f"[other]\n{KEYS}", "no section"),
        ("[default]\naws_secret_access_key = HUSH\n", "half of a key pair"),
        ("[default]\naws_access_key_id = ID\naws_secret_access_key = HU SH\n", "a space"),
        ("\x80HUSH", "not written like"),
    ],
)
def test_a_file_that_holds_no_pair_is_named_and_not_repeated(
    tmp_path: Path, text: str, named: str
) -> None:
    file = private_file(tmp_path, text)

    with pytest.raises(CredentialsError, match=named) as wrong:
        credentials(come_from(f"file:{file}"))

    assert "HUSH" not in wrong.value.message + wrong.value.hint
    assert "HU SH" not in wrong.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"keys cannot be read: No such file"):
        credentials(come_from(f"file:{tmp_path}/keys"))


def test_percent_signs_mean_themselves(tmp_path: Path) -> None:
    text = "[default]\naws_access_key_id = ID\naws_secret_access_key = a%b%(c)s\n"

    pair = credentials(come_from(f"file:{private_file(tmp_path, text)}"))

    assert pair is not None
    assert pair.secret_access_key == "a%b%(c)s"


@pytest.mark.parametrize("place", ["shared", "config"])
def test_from_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "shared"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    section = "lab" if place == "shared" else "profile lab"
    (tmp_path / place).write_text(f"[{section}]\n{KEYS}")

    assert credentials(come_from("profile:lab")) == PAIR
    with pytest.raises(CredentialsError, match="profile 'none' has no key pair"):
        credentials(come_from("profile:none"))


def test_the_platforms_own_are_passed_through_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ROLE_ARN", "role")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "uri")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/bundle")
    monkeypatch.setenv("OTHER_SECRET", "HUSH")

    assert credentials(come_from("ambient")) is None
    passed = credential_environment(come_from("ambient"))

    assert passed["AWS_ROLE_ARN"] == "role"
    assert passed["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "uri"
    assert not {"AWS_CA_BUNDLE", "OTHER_SECRET"} & passed.keys()


def test_a_child_gets_little_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_CA_BUNDLE", "LD_PRELOAD", "LITESTREAM_CONFIG"):
        monkeypatch.setenv(name, "HUSH")
    monkeypatch.setenv("LC_ALL", "C")

    given = child_environment({"MINE": "1"})

    assert "HUSH" not in given.values()
    assert (given["LC_ALL"], given["MINE"], "PATH" in given) == ("C", "1", True)
