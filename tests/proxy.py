"""An HTTP proxy that tests put between a program and an S3 server, to break the line."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from tests import wire
from tests.faults import Fault, Pace
from tests.support import PATIENCE_S
from tests.wire import Answer, Request

T = TypeVar("T")
Mode = Literal["pass", "refuse", "blackhole", "reset"]


class _Ended(Exception):
    """This line carries no more."""


@dataclass(slots=True)
class Rule:
    """
    A fault, and what it is done to.

    Attributes:
        fault: What is done.
        method: To requests of this method; None for any.
        path: To requests whose decoded path has this regular expression in it.
        times: To so many requests; None for all.
        hits: To how many it was done.
    """

    fault: Fault
    method: str | None
    path: str
    times: int | None
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Tell whether it is done to this request."""
        is_due = self.times is None or self.hits < self.times
        fits = self.method in {None, request.method}
        return is_due and fits and re.search(self.path, request.path) is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that came by."""

    method: str
    path: str
    query: str
    agent: str


class Proxy:
    """
    Forwards to one port of this machine; ``set`` says how all of it behaves from now on,
    ``fault`` what is done to single requests, ``seen`` what came by.

    pass: as if it were not there. refuse: nothing listens, open lines are cut.
    blackhole: lines open and stay open, no byte comes through. reset: lines
    open, and are reset at their first byte; open ones are reset now.

    A line that has carried *hold_after* bytes carries no more: whoever reads something
    large is caught at work, for as long as it takes.

    Signatures survive: the host a client signs for is this proxy, and it is passed on.
    """

    def __init__(self, target_port: int, *, hold_after: int | None = None) -> None:
        self.seen: list[Seen] = []
        self._target_port = target_port
        self._hold_after = hold_after
        self._mode: Mode = "pass"
        self._rules: tuple[Rule, ...] = ()
        self._loop = asyncio.new_event_loop()
        self._door: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._lines: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        # Held, but not listened at: nobody else gets it while this one refuses.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.set("pass")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()
        self._held.close()

    def set(self, mode: Mode) -> None:
        """Behave like *mode* from now on, open lines included."""
        self._do(self._set(mode))

    @contextlib.contextmanager
    def fault(
        self,
        fault: Fault,
        *,
        method: str | None = None,
        path: str = "",
        times: int | None = None,
    ) -> Iterator[Rule]:
        """Do *fault* to what fits, until the block is left; see Rule."""
        rule = Rule(fault, method, path, times)
        self._rules += (rule,)
        try:
            yield rule
        finally:
            self._rules = tuple(other for other in self._rules if other is not rule)

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE_S)

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        self._passing.set() if mode == "pass" else self._passing.clear()
        if mode in {"refuse", "reset"}:
            self._cut()
        if mode == "refuse" and self._door:
            self._loop.remove_reader(self._door)
            self._door.close()
            self._door = None
        elif mode != "refuse" and not self._door:
            self._door = socket.create_server(("127.0.0.1", self.port))
            self._door.settimeout(0)
            self._loop.add_reader(self._door, self._let_in, self._door)

    async def _close(self) -> None:
        await self._set("refuse")
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _cut(self) -> None:
        for line in self._lines:
            _reset(line)

    def _let_in(self, door: socket.socket) -> None:
        """Meet somebody. A server of asyncio's leaves who comes while it closes unclosed."""
        try:
            came, _ = door.accept()
        except OSError:  # they have thought better of it
            return
        came.settimeout(0)
        task = self._loop.create_task(self._serve(came))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: came.close())

    async def _serve(self, came: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        there: asyncio.StreamWriter | None = None
        try:
            reader, writer = await asyncio.open_connection(sock=came)
            self._lines.add(writer)
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._lines.add(there)
            line = _Line(self, (reader, writer), (there_reader, there))
            while True:
                await line.exchange()
        except (OSError, EOFError, ValueError, _Ended):
            return
        except asyncio.CancelledError:
            return  # the end of the proxy; raised on, asyncio would report it
        finally:
            for end in filter(None, (writer, there)):
                end.transport.abort()
                self._lines.discard(end)


class _Line:
    """One connection of a client, and the one to the server behind it."""

    def __init__(
        self,
        proxy: Proxy,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = here
        self._there_reader, self._there = there
        self._carried = 0
        self._answered = 0

    async def exchange(self) -> None:
        """Carry one request there and its answer back."""
        head = await wire.read_head(self._reader)
        await self._gate()
        self._answered = 0
        request = Request(head=head)
        rules = [rule for rule in self._proxy._rules if rule.takes(request)]
        for rule in rules:
            rule.hits += 1
        self._proxy.seen.append(
            Seen(request.method, request.path, request.query, head["User-Agent"])
        )
        if head["Expect"]:
            # It is not signed; who waits for this is told by us, so that we can hear all of it.
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request = Request(head=head.without("expect"), body=await self._body(head, rules))
        made = (rule.fault.instead(request) for rule in rules)
        answer = next((found for found in made if found), None)
        if answer is None:
            await self._ask(request, rules)
        else:
            await self._send(request, answer, rules)

    async def _body(self, head: wire.Head, rules: list[Rule]) -> bytes:
        body = []
        async for piece in wire.pieces(self._reader, head):
            await self._wait(piece, rules)
            body.append(piece)
        return b"".join(body)

    async def _ask(self, request: Request, rules: list[Rule]) -> None:
        head = request.head
        if "chunked" in head["Transfer-Encoding"].lower():
            head = head.without("transfer-encoding").with_header(
                "Content-Length", str(len(request.body))
            )
        self._there.write(head.encode() + request.body)
        await self._there.drain()
        head = await wire.read_head(self._there_reader)
        has_body = wire.has_body(head, method=request.method)
        if any(rule.fault.changes for rule in rules):
            body = await wire.read_body(self._there_reader, head) if has_body else b""
            answer = Answer(head=head, body=body)
            for rule in rules:
                answer = rule.fault.change(request, answer)
            await self._send(request, answer, rules)
            return
        if "chunked" in head["Transfer-Encoding"].lower():
            body = await wire.read_body(self._there_reader, head)
            await self._send(request, Answer(head=head, body=body), rules)
            return
        await self._carry(head.encode(), rules, is_body=False)
        if has_body:
            async for piece in wire.pieces(self._there_reader, head):
                await self._carry(piece, rules)

    async def _send(self, request: Request, answer: Answer, rules: list[Rule]) -> None:
        await self._carry(answer.encode_head(to_method=request.method), rules, is_body=False)
        if request.method != "HEAD" and answer.body:
            await self._carry(answer.body, rules)

    async def _carry(self, piece: bytes, rules: list[Rule], *, is_body: bool = True) -> None:
        """Write to the client, as slowly and as far as the rules have it."""
        until = min((p.until for p in _paces(rules) if p.until is not None), default=None)
        await self._wait(piece, rules)
        if is_body:
            self._answered += len(piece)
        if until is not None and (self._answered >= until):
            await self._end(piece[: len(piece) - self._answered + until] if is_body else b"")
        self._carried += len(piece)
        hold_after = self._proxy._hold_after
        if hold_after is not None and self._carried > hold_after:
            await asyncio.Event().wait()
        await self._gate()
        self._writer.write(piece)
        await self._writer.drain()

    async def _end(self, last: bytes) -> None:
        self._writer.write(last)
        if last:
            await self._writer.drain()
            await asyncio.sleep(0.05)  # it goes out before the reset
        _reset(self._writer)
        raise _Ended

    async def _wait(self, piece: bytes, rules: list[Rule]) -> None:
        for pace in _paces(rules):
            rest_s = pace.latency_s + (len(piece) / pace.rate if pace.rate else 0)
            if rest_s:
                await asyncio.sleep(rest_s)

    async def _gate(self) -> None:
        if self._proxy._mode == "reset":
            self._proxy._cut()
        await self._proxy._passing.wait()


def _paces(rules: list[Rule]) -> list[Pace]:
    return [rule.fault.pace for rule in rules]


def _reset(line: asyncio.StreamWriter) -> None:
    # With no time to linger a close is a reset, not a polite end.
    sock = line.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.transport.abort()
