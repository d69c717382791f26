"""One mapping of the document: which keys it may have, and of what type."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.core.words import parse_size
from obelisk_ops.errors import ConfigError
from obelisk_ops.settings.values import DAY_S

CREDENTIALS_HINT = (
    "write 'env', 'ambient', 'profile:NAME' or 'file:PATH'; a secret never stands in this file"
)
_SECRET_KEY = re.compile(r"secret|password|passphrase|token|access.?key", re.IGNORECASE)


class Section:
    """One mapping of the document, its place, and the keys it may have."""

    def __init__(self, document: object, place: str, keys: tuple[str, ...]) -> None:
        self.place = place
        if document is None:  # `lease:` with nothing under it, or an empty file
            document = {}
        if not isinstance(document, dict):
            raise ConfigError(
                f"{place or 'the top'}: must be a mapping of keys to values",
                hint=f"write a line 'KEY: VALUE' for each; known here: {', '.join(keys)}",
            )
        self.given: dict[str, Any] = document
        for key in document:
            if key not in keys:
                raise _unknown_key(str(key), self.at(str(key)), keys)

    def at(self, key: str) -> str:
        """Return the place of *key*, as a person would write it."""
        return f"{self.place}.{key}" if self.place else key

    def section(self, key: str, keys: tuple[str, ...]) -> Section:
        """Return the mapping under *key*; an absent one is empty."""
        return Section(self.given.get(key), self.at(key), keys)

    def text(self, key: str, default: str | None = None) -> str:
        """Return the text under *key*; without a default it must be there."""
        if key not in self.given and default == "":
            return default
        return _text(self.given.get(key, default), self.at(key))

    def count(self, key: str, default: int, *, most: int) -> int:
        """Return the whole number under *key*, at least 1."""
        value = self.given.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise ConfigError(f"{self.at(key)}: must be a whole number from 1 to {most}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return the truth value under *key*."""
        value = self.given.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.at(key)}: must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of texts under *key*; an absent one is empty."""
        value = self.given.get(key, [])
        if not isinstance(value, list):
            raise ConfigError(f"{self.at(key)}: must be a list", hint="write it like [a, b]")
        entries = {str(index): each for index, each in enumerate(value)}
        return tuple(Section(entries, self.at(key), tuple(entries)).text(n) for n in entries)

    def duration(self, key: str, default_s: float, *, least: float) -> float:
        """Return the seconds under *key*, which must be a duration with units."""
        if key not in self.given:
            return default_s
        return self._seconds(self.given[key], self.at(key), least=least)

    def size(self, key: str) -> int | None:
        """Return the bytes under *key*, written like ``500MiB``; None if it is not there."""
        if key not in self.given:
            return None
        text = _text(self.given[key], self.at(key))
        try:
            return parse_size(text)
        except ValueError as wrong:
            raise ConfigError(f"{self.at(key)}: {text!r} is {wrong}") from None

    def durations(
        self, key: str, default_s: tuple[float, ...], *, least: float
    ) -> tuple[float, ...]:
        """Return the seconds of each entry of the list under *key*."""
        if key not in self.given:
            return default_s
        listed = self.given[key]
        if not isinstance(listed, list) or not listed:
            raise ConfigError(f"{self.at(key)}: must be a list", hint="like [30s, 5m, 1h]")
        places = (f"{self.at(key)}[{index}]" for index in range(len(listed)))
        return tuple(
            self._seconds(value, place, least=least)
            for value, place in zip(listed, places, strict=True)
        )

    @staticmethod
    def _seconds(value: object, place: str, *, least: float) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ConfigError(
                f"{place}: {value} has no unit", hint=f"write {value}s for seconds"
            )
        text = _text(value, place)
        try:
            seconds = parse_duration(text)
        except ValueError as wrong:
            problem, _, hint = str(wrong).partition("; ")
            raise ConfigError(f"{place}: {value!r} is {problem}", hint=hint) from None
        if not least <= seconds <= 3_650 * DAY_S:
            raise ConfigError(f"{place}: {value} is out of range ({least:g}s to 3650d)")
        return seconds


def _text(value: object, place: str) -> str:
    if value is None:
        key = place.rpartition(".")[2]
        raise ConfigError(f"{place}: is missing", hint=f"write a line '{key}: VALUE' there")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{place}: must be a text that is not empty")
    if not value.isprintable():
        raise ConfigError(f"{place}: holds a control character")
    return value


def _unknown_key(key: str, place: str, keys: tuple[str, ...]) -> ConfigError:
    if _SECRET_KEY.search(key):
        return ConfigError(f"{place}: a secret is not accepted here", hint=CREDENTIALS_HINT)
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
    known = ", ".join(keys)
    if near:
        return ConfigError(
            f"{place}: unknown key; nearest is '{near[0]}'", hint=f"known: {known}"
        )
    return ConfigError(f"{place}: unknown key", hint=f"known here: {known}")


def absolute(path: str, folder: Path, place: str) -> str:
    """Return *path* counted from *folder*, ``~`` resolved, symbolic links kept."""
    if not path.isprintable():
        raise ConfigError(f"{place}: holds a control character")
    return os.path.normpath(folder / os.path.expanduser(path))  # noqa: PTH111 — never raises
