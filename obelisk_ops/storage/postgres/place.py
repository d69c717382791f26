"""Which schema of which database: a URL of libpq's, and the option ``schema`` in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from obelisk_ops.errors import ConfigError

SCHEMES: Final = ("postgresql", "postgres")
DEFAULT_SCHEMA: Final = "obelisk_ops"
_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Where an execution log is.

    Attributes:
        url: What libpq is given. It may hold a password: never show it.
        schema: The schema in which the tables are.
        label: The URL as messages show it, without anything secret.
    """

    url: str = field(repr=False)
    schema: str
    label: str

    def lock_key(self, purpose: str) -> int:
        """Return a number for an advisory lock of this schema: 64 bits, signed."""
        digest = hashlib.sha256(f"obelisk-ops {purpose} {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)


def read(url: str) -> Place:
    """
    Understand the URL of a database.

    Raises:
        ConfigError: It is none, or names a schema that cannot be.
    """
    base, mark, query = url.partition("?")
    # Left as it is written, but for the schema: libpq reads an escape or a + in its own way.
    others = [part for part in query.split("&") if part and not part.startswith("schema=")]
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the URL
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        raise ConfigError(
            "this is no URL of a PostgreSQL database",
            hint="it looks like postgresql://USER@HOST:5432/DATABASE?schema=NAME",
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    schema = options.get("schema", DEFAULT_SCHEMA)
    if not _NAME.fullmatch(schema):
        raise ConfigError(
            f"{schema!r} cannot be the name of a schema",
            hint="use small letters, digits and _, and not pg_ at its beginning",
        )
    return Place(
        url=f"{base}{mark if others else ''}{'&'.join(others)}",
        schema=schema,
        label=_label(parts.netloc, parts.path, options.get("host"), schema),
    )


def _label(netloc: str, path: str, host: str | None, schema: str) -> str:
    users, at, hosts = netloc.rpartition("@")
    shown = [("host", host)] if host else []
    shown += [("schema", schema)] if schema != DEFAULT_SCHEMA else []
    query = urlencode(shown, safe="/")
    user = users.partition(":")[0]
    return f"{SCHEMES[0]}://{user}{at}{hosts}{path}{'?' if query else ''}{query}"
