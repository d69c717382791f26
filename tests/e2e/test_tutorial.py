"""The tutorial, typed line by line: what it shows is what is printed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, Typed, blocks, matches, typed
from tests.support import wait_until

PAGES = [
    "tutorial.md",
    "tutorial-agent.md",
    "tutorial-post-mortem.md",
    "how-to/operate-executions.md",
]
PORT_OF_THE_PAGE = "9000"

#: What changes nothing may be asked again until the answer is there; and a folder into which a
#: supervisor writes just now is removed the second time.
_AGAIN = (
    "rm -r",
    "obelisk-ops status",
    "obelisk-ops inspect",
    "obelisk-ops replica",
    "obelisk-ops execution why",
)


class Reader:
    """Somebody who does what the page says, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = str(_free_port())
        bin_folder = Path(sys.executable).parent
        self._env = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
        self._background: list[subprocess.Popen[bytes]] = []

    def follow(self, block: Block) -> None:
        """Save a file, or type the commands of a block."""
        if block.file:
            (self._folder / block.file).write_text(self._localised(block.text))
        elif block.language == "console":
            for line in typed(block):
                self._type(line, block)

    def leave(self) -> None:
        """Stop what was started, the last first."""
        for process in reversed(self._background):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=120)
            process.kill()
            process.wait()

    def _type(self, line: Typed, block: Block) -> None:
        command = self._localised(line.command)
        if line.is_background:
            self._start(command.removesuffix("&"))
            return

        printed = ""

        def is_as_shown() -> bool:
            nonlocal printed
            printed = self._run(command)
            return matches(line.shown, printed)

        with suppress(AssertionError):
            wait_until(is_as_shown, 30 if command.startswith(_AGAIN) else 0, command)
        assert matches(line.shown, printed), f"{block}: $ {command}\n{printed}"

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._folder, env=self._env, text=True, timeout=180,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.stdout

    def _start(self, command: str) -> None:
        output = self._folder / f"background-{len(self._background)}.log"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"], cwd=self._folder, env=self._env,
                stdout=sink, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._background.append(process)
        wait_until(lambda: output.stat().st_size, 30, f"{command} says something")

    def _localised(self, text: str) -> str:
        return text.replace(PORT_OF_THE_PAGE, self._port)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.leave()


@pytest.mark.parametrize("page", PAGES)
def test_the_tutorial_works_as_it_is_written(reader: Reader, page: str) -> None:
    for block in blocks(ROOT / "docs" / page):
        reader.follow(block)


def _free_port() -> int:
    # Below those that the system gives to whoever calls somebody.
    for port in random.sample(range(20_000, 32_000), k=100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
