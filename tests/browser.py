"""
A headless Chromium, spoken to through a pipe: no port, no driver, no library.

    python -m tests.browser PAGE.html PICTURE.png     photographs a page, as for docs/images
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: how it is called by Debian, by others, and on GitHub's machines
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip


def find_browser() -> str | None:
    """Return the program, if there is one."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page of a browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._last = 0
        self._read = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Say something to it, and return the answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._next()
            if heard.get("id") == self._last:
                assert "result" in heard, heard
                result: dict[str, Any] = heard["result"]
                return result

    def open(self, page: Path) -> None:
        """Open a file, and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=page.absolute().as_uri())
        while not self.heard("Page.loadEventFired"):
            self._next()

    def heard(self, method: str) -> list[dict[str, Any]]:
        """Return what it has told of its own accord since the page was opened."""
        return [event["params"] for event in self.events if event["method"] == method]

    def ask(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, once it is settled."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def look(self, *, dark: bool = False, width: int = 1200, height: int = 800) -> None:
        """Choose the size of the window, and what the person prefers."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip

    def photograph(self) -> bytes:
        """Return what is seen, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            more = os.read(self._answers, 1 << 16)
            assert more, "the browser has ended"
            self._read += more
        line, _, self._read = self._read.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        if "method" in heard:
            self.events.append(heard)
        return heard


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start a browser that keeps all it has in *folder*."""
    hears, commands = os.pipe()
    answers, says = os.pipe()
    # It listens at descriptor 3 and answers at 4, whatever numbers they have here.
    wrapper = f'exec "$@" 3<&{hears} 4>&{says}'
    process = subprocess.Popen(
        ["bash", "-c", wrapper, "bash", program, *_FLAGS[:-1], f"--user-data-dir={folder}",
         _FLAGS[-1]],
        pass_fds=(hears, says), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(hears)
    os.close(says)
    try:
        yield Browser(commands, answers)
    finally:
        os.close(commands)  # it ends when nobody speaks to it any more
        os.close(answers)
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def photograph(page: Path, picture: Path) -> None:
    """Write down what is seen of a page."""
    program = find_browser()
    assert program is not None, "no Chromium here: apt-get install chromium"
    with tempfile.TemporaryDirectory() as folder, browser(program, Path(folder)) as started:
        started.look(width=1080, height=1010)
        started.open(page)
        picture.write_bytes(started.photograph())


if __name__ == "__main__":
    photograph(*map(Path, sys.argv[1:]))
