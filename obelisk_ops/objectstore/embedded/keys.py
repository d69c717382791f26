"""The key pairs of an embedded server, kept in its folder and nowhere else."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from obelisk_ops.errors import StorageUnavailable

ADMIN = "admin"
_ADMIN_ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One key pair; its repr shows neither half."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


def keep_identities(folder: Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, Identity]:
    """
    Return the admin's key pair and those *wanted*, the same ones at every start.

    Writes ``s3.json`` for the server and ``credentials``, in the form of AWS's
    shared credentials file, for everybody else; both readable by their owner.

    Args:
        folder: The folder of the server.
        wanted: Names, each with what it may do: Read, Write, List, Admin.
    """
    actions = {ADMIN: _ADMIN_ACTIONS, **wanted}
    known = _read(folder / "s3.json")
    made = {name: known.get(name) or _new_identity() for name in actions}
    document = {
        "identities": [
            {
                "name": name,
                "credentials": [{"accessKey": pair.access_key, "secretKey": pair.secret_key}],
                "actions": list(actions[name]),
            }
            for name, pair in made.items()
        ]
    }
    _write_private(folder / "s3.json", msgspec.json.encode(document))
    _write_private(folder / "credentials", _aws_form(made).encode())
    return made


def _aws_form(made: Mapping[str, Identity]) -> str:
    sections = {"default" if name == ADMIN else name: pair for name, pair in made.items()}
    return "\n".join(
        f"[{name}]\naws_access_key_id = {pair.access_key}\n"
        f"aws_secret_access_key = {pair.secret_key}\n"
        for name, pair in sections.items()
    )


def _new_identity() -> Identity:
    return Identity(
        access_key="OBELISK" + secrets.token_hex(6).upper(), secret_key=secrets.token_hex(20)
    )


def _read(file: Path) -> dict[str, Identity]:
    if not file.exists():
        return {}
    try:
        document: Any = msgspec.json.decode(file.read_bytes())
        return {
            entry["name"]: Identity(
                access_key=entry["credentials"][0]["accessKey"],
                secret_key=entry["credentials"][0]["secretKey"],
            )
            for entry in document["identities"]
        }
    except (msgspec.DecodeError, LookupError, TypeError):
        raise StorageUnavailable(
            f"{file} is not what an earlier start has written",
            hint="remove it, new keys are made then; or choose another folder",
        ) from None


def _write_private(file: Path, content: bytes) -> None:
    aside = file.with_name(file.name + ".new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    aside.replace(file)
