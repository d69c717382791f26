"""An HTTP server that keeps what is posted to it, and answers as it is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.support import PATIENCE_S


class Hook:
    """
    A place for webhooks.

    Attributes:
        status: What is answered from now on; None for no answer at all.
        posted: Path, headers and body of everything that came.
    """

    def __init__(self) -> None:
        self.status: int | None = 204
        self.posted: list[tuple[str, dict[str, str], bytes]] = []
        self._ended = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posted.append((self.path, dict(self.headers), body))
                if hook.status is None:
                    hook._ended.wait(PATIENCE_S)
                    return
                self.send_response(hook.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Every alert in everything that was posted."""
        return [one for _, _, body in self.posted for one in json.loads(body)["alerts"]]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
