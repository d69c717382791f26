"""The program as it is installed, and its control socket when it misbehaves."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.errors import ProgramMissing, Unavailable
from obelisk_ops.litestream import program
from obelisk_ops.litestream.config import Config, Database, Target, to_yaml
from obelisk_ops.litestream.control import ControlSocket, Synced
from obelisk_ops.settings import child_environment

TARGET = Target(
    bucket="b", path="p/db/e0001", region="us-east-1", endpoint="http://127.0.0.1:9"
)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def script(folder: Path, body: str) -> Path:
    """Write a program that says what the test wants."""
    path = folder / "litestream"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


def test_the_installed_program_is_recent_enough() -> None:
    version = program.check_version(program.find(), child_environment({}))

    assert version.startswith("0.5.")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 0.5.16", "is version 0.5.16, needed is 0.5.17"),
        ("echo 0.3.13", "is version 0.3.13"),
        ("echo hello", "does not say its version"),
        ("exit 1", "does not say its version"),
    ],
)
def test_another_program_is_refused(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(ProgramMissing, match=said) as refused:
        program.check_version(script(tmp_path, body), child_environment({}))

    assert "pip install" in refused.value.hint


def test_a_program_that_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="does not run"):
        program.check_version(tmp_path / "nothing", {})


@pytest.mark.parametrize(
    "name", ["a.db", "with space.db", "quote'\".db", "${HOME}.db", "ü: #.db"]
)
def test_litestream_reads_what_is_written(tmp_path: Path, name: str) -> None:
    """It would refuse a value of a wrong type, and shows the path as it understood it."""
    database = Database(path=tmp_path / name, meta=tmp_path / "meta", target=TARGET)
    config = Config(databases=(database,), socket=tmp_path / "s", metrics="127.0.0.1:1")
    config = replace(config, l0_retention_s=0.5)
    file = tmp_path / "litestream.yml"
    file.write_text(to_yaml(config))

    done = subprocess.run(
        [program.find(), "databases", "-config", file, "-no-expand-env"],
        env=child_environment({}), capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert str(tmp_path / name) in done.stdout


def asked(
    folder: Path,
    handler: Handler | None,
    question: Callable[[ControlSocket], Awaitable[object]],
) -> object:
    """Return what a question gets from a server that behaves like *handler*."""

    async def ask() -> object:
        path = folder / "s"
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert handler is not None
            await handler(reader, writer)
            writer.close()
            await writer.wait_closed()
            served.set()

        if handler is None:
            return await question(ControlSocket(path))
        async with await asyncio.start_unix_server(serve, path):
            try:
                return await question(ControlSocket(path))
            finally:
                await served.wait()

    return asyncio.run(ask())


def saying(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handle


def ok(body: str) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body.encode()


def test_positions_are_read(tmp_path: Path) -> None:
    txid = asked(tmp_path, saying(ok('{"txid":7}')), lambda s: s.txid(Path("/a b.db")))

    assert txid == 7


def test_a_sync_tells_what_it_reached(tmp_path: Path) -> None:
    answer = ok('{"status":"synced","path":"/a","txid":9,"replicated_txid":8}')

    synced = asked(tmp_path, saying(answer), lambda s: s.sync(Path("/a"), timeout_s=30))

    assert synced == Synced(status="synced", txid=9, replicated_txid=8)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b'HTTP/1.0 404 Not Found\r\n\r\n{"error":"database not found"}', "404: .*not found"),
        (ok("not json"), "does not answer"),
        (ok('{"txid":"many"}'), "does not answer"),
        (b"", "does not answer"),
        (b"HTTP/1.0 what\r\n\r\n", "does not answer"),
    ],
)
def test_nonsense_is_no_answer(tmp_path: Path, answer: bytes, said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        asked(tmp_path, saying(answer), lambda s: s.txid(Path("/a")))


SYNCED = b'{"status":"synced","txid":9}'


def count_lines(
    folder: Path, ask: Callable[[ControlSocket], Awaitable[None]], answers: int
) -> int:
    """Return how many connections *ask* opens; each is closed after so many answers."""

    async def count() -> int:
        lines, ended = 0, asyncio.Semaphore(0)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal lines
            lines += 1
            with suppress(asyncio.IncompleteReadError):
                for _ in range(answers):
                    await reader.readuntil(b"}")
                    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(SYNCED)}\r\n\r\n"
                    writer.write(head.encode() + SYNCED)
            writer.close()
            await writer.wait_closed()
            ended.release()

        async with await asyncio.start_unix_server(serve, folder / "s"):
            control = ControlSocket(folder / "s")
            await ask(control)
            control.close()
            for _ in range(lines):
                await ended.acquire()
        return lines

    return asyncio.run(count())


def test_syncs_share_a_connection_and_those_at_once_do_not(tmp_path: Path) -> None:
    async def sync(control: ControlSocket) -> None:
        for _ in range(3):
            await control.sync(Path("/a"), timeout_s=30)
        both = [control.sync(Path(path), timeout_s=30) for path in ("/a", "/b")]
        await asyncio.gather(*both)
        await control.sync(Path("/a"), timeout_s=30)

    assert count_lines(tmp_path, sync, answers=9) == 2


def test_a_connection_that_was_hung_up_is_not_used_again(tmp_path: Path) -> None:
    async def sync(control: ControlSocket) -> None:
        await control.sync(Path("/a"), timeout_s=30)
        with suppress(Unavailable):  # nobody may have heard of it yet
            await control.sync(Path("/a"), timeout_s=30)
        await asyncio.sleep(0)
        with suppress(Unavailable):
            await control.sync(Path("/a"), timeout_s=30)

    assert count_lines(tmp_path, sync, answers=1) >= 2


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        asked(tmp_path, None, lambda s: s.info())


def test_silence_ends(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(Unavailable, match="did not answer"):
        asked(tmp_path, silent, lambda s: s.txid(Path("/a")))
