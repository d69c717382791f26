"""A server that refuses whom it has asked for a password may have another reason than that."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import pytest

from obelisk_ops.errors import CredentialsError, DatabaseNotFound, OpsError, StorageUnavailable
from obelisk_ops.storage.postgres import place, session

_SSL, _GSS = 80877103, 80877104


@contextmanager
def refusing(sqlstate: str) -> Iterator[str]:
    """Run a server that asks everybody for a password, and then refuses; yield its URL."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                line, _ = door.accept()
                with line, line.makefile("rwb") as stream:
                    _refuse(stream, sqlstate)

    with socket.create_server(("127.0.0.1", 0)) as door:
        server = Thread(target=serve)
        server.start()
        try:
            yield f"postgresql://u:s3cret@127.0.0.1:{door.getsockname()[1]}/d"
        finally:
            door.shutdown(socket.SHUT_RDWR)
            server.join()


def _refuse(stream: Any, sqlstate: str) -> None:
    while struct.unpack("!i", _message(stream)[:4])[0] in (_SSL, _GSS):
        _say(stream, b"N")
    _say(stream, b"R" + struct.pack("!ii", 8, 3))
    stream.read(1)
    assert _message(stream) == b"s3cret\0"
    said = f"SFATAL\0VFATAL\0C{sqlstate}\0Mder Server sagt nein\0\0".encode()
    _say(stream, b"E" + struct.pack("!i", len(said) + 4) + said)


def _message(stream: Any) -> bytes:
    return bytes(stream.read(struct.unpack("!i", stream.read(4))[0] - 4))


def _say(stream: Any, said: bytes) -> None:
    stream.write(said)
    stream.flush()


@pytest.mark.parametrize(
    ("sqlstate", "error", "hint"),
    [
        ("28P01", CredentialsError, "user and password"),
        ("42501", CredentialsError, "CREATE"),
        ("53300", StorageUnavailable, "max_connections"),
        ("57P03", StorageUnavailable, ""),
        ("3D000", DatabaseNotFound, "createdb"),
    ],
)
def test_it_is_told_by_what_it_says(sqlstate: str, error: type[OpsError], hint: str) -> None:
    with refusing(sqlstate) as url, pytest.raises(error, match="sagt nein") as told:
        session.connect(place.read(url))

    assert hint in told.value.hint
    assert "s3cret" not in f"{told.value.message} {told.value.hint}"
