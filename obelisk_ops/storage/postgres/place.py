"""Which schema of which database: a URL of libpq's, and in it the options that are ours."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from obelisk_ops.errors import ConfigError

SCHEMES: Final = ("postgresql", "postgres")
#: schemas that share a channel then are woken by each other's letters, too
_NAME_BYTES: Final = 63
DEFAULT_SCHEMA: Final = "obelisk_ops"
#: options that messages show; another one may hold a secret, or be a password mistyped
_SHOWN: Final = frozenset(
    {"host", "hostaddr", "port", "user", "dbname", "schema", "sslmode", "pooler"}
)
#: options that libpq does not know
_OURS: Final = ("schema", "pooler")
_POOLERS: Final = ("transaction", "session")
_NAME = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Where an execution log is.

    Attributes:
        url: What libpq is given. It may hold a password: never show it.
        schema: The schema in which the tables are.
        pooler: What is between here and the server, as the URL says: ``transaction`` gives each
            transaction another connection, ``session`` keeps one; empty to find out.
        label: The URL as messages show it, without anything secret.
    """

    url: str = field(repr=False)
    schema: str
    label: str
    pooler: str = ""

    def lock_key(self, purpose: str) -> int:
        """Return a number for an advisory lock of this schema: 64 bits, signed."""
        digest = hashlib.sha256(f"obelisk-ops {purpose} {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    def lock_class(self) -> int:
        """Return the first half of the numbers for the locks of its workers: 32 bits."""
        return self.lock_key("worker") & 0x7FFF_FFFF

    def channel(self) -> str:
        """Return where its workers listen; a server takes no longer name."""
        return f"letters_{self.schema}"[:_NAME_BYTES]

    def __str__(self) -> str:
        return self.label


#: by their labels
_concealed: dict[str, Place] = {}


def read(url: str) -> Place:
    """
    Understand the URL of a database.

    Raises:
        ConfigError: It is none, or names a schema that cannot be.
    """
    if url in _concealed:
        return _concealed[url]
    base, mark, query = url.partition("?")
    # Left as it is written, but for what is ours: libpq reads an escape or a + in its own way.
    given = [part for part in query.split("&") if part]
    others = [part for part in given if part.partition("=")[0] not in _OURS]
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the URL
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        raise ConfigError(
            "this is no URL of a PostgreSQL database",
            hint="it looks like postgresql://USER@HOST:5432/DATABASE?schema=NAME",
        )
    if parts.fragment or "@" in parts.path + parts.query:
        # Its password ends too early: what is left of it would be shown as host or path.
        raise ConfigError(
            "this URL has a character in its user or password that ends them",
            hint="write @ as %40, / as %2F, ? as %3F and # as %23",
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    schema = options.get("schema", DEFAULT_SCHEMA)
    if not _NAME.fullmatch(schema):
        raise ConfigError(
            f"{schema!r} cannot be the name of a schema",
            hint="use small letters, digits and _, and not pg_ at its beginning",
        )
    pooler = options.get("pooler", "")
    if pooler not in ("", *_POOLERS):
        raise ConfigError(
            f"{pooler!r} is no kind of pooler",
            hint="write pooler=transaction, pooler=session, or nothing: it is found out",
        )
    return Place(
        url=f"{base}{mark if others else ''}{'&'.join(others)}",
        schema=schema,
        label=_label(parts.netloc, parts.path, given),
        pooler=pooler,
    )


def conceal(url: str) -> str:
    """
    Return the label of a URL, by which this process finds the URL again.

    What a person typed goes into messages and hints; so nothing secret is in what goes around.

    Raises:
        ConfigError: It is no URL of a PostgreSQL database.
    """
    place = read(url)
    _concealed[place.label] = place
    return place.label


def _label(netloc: str, path: str, options: list[str]) -> str:
    users, at, hosts = netloc.rpartition("@")
    query = "&".join(one for one in options if one.partition("=")[0] in _SHOWN)
    user = users.partition(":")[0]
    return f"{SCHEMES[0]}://{user}{at}{hosts}{path}{'?' if query else ''}{query}"
