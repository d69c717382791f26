"""A part of the objects: so that a large replica is read over many days. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from obelisk_ops.errors import InvalidInput

_FORM = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Part *number* of *of*, counted from 1; each object belongs to one, always the same."""

    number: int
    of: int

    def holds(self, key: str) -> bool:
        """Tell whether an object belongs to it."""
        digest = hashlib.sha256(key.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_part(text: str) -> Part:
    """
    Return the part that *text* names: ``2/7``.

    Raises:
        InvalidInput: It names none.
    """
    found = _FORM.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InvalidInput(
            f"--subset {text!r} is no part",
            hint="write 1/7 to 7/7 for a seventh of the objects",
        )
    return Part(number=int(found[1]), of=int(found[2]))
