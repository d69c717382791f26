"""
Which requests for metrics are answered. Pure.

A page in a browser may point a name of its own at 127.0.0.1 and read what listens
there; what tells it from a friend is the name that it asks for. So a request has to
ask for an address, or for a name that is configured.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

PATH = "/metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What is made of a request.

    Attributes:
        status: 200 if it is answered with the metrics, else the status of its refusal.
        accept: The form that is wanted.
        has_body: Whether the body is wanted too.
    """

    status: int
    accept: str = ""
    has_body: bool = True


def read(head: bytes, *, hosts: Collection[str]) -> Asked:
    """Return what is made of a request, its headers included; *hosts* are further names."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")
        method, target, protocol = first.split(" ")
        headers = _headers(lines)
    except ValueError:
        return Asked(status=400)
    if not protocol.startswith("HTTP/1.") or not headers.get("host"):
        return Asked(status=400)
    if not is_known(headers["host"], hosts):
        return Asked(status=421)
    if target.partition("?")[0] != PATH or method not in {"GET", "HEAD"}:
        return Asked(status=404)
    return Asked(status=200, accept=headers.get("accept", ""), has_body=method == "GET")


def _headers(lines: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        if name.lower() in found:
            raise ValueError("twice")  # of two hosts one would be looked at, and one meant
        found[name.lower()] = value.strip()
    return found


def is_known(host: str, hosts: Collection[str]) -> bool:
    """Tell whether a Host header names an address, localhost, or one of *hosts*."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name in {known.lower() for known in hosts}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def answer(status: int, kind: str, body: bytes, *, has_body: bool = True) -> bytes:
    """Return the bytes of an answer after which the line is closed."""
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if has_body else b"")


_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 421: "Misdirected Request"}
