"""A bucket in memory, with conditional writes, that loses answers when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

from obelisk_ops.errors import ObjectNotFound, PreconditionFailed, S3Unavailable
from obelisk_ops.objectstore import Fetched, ObjectInfo


class MemoryStore:
    """
    See ObjectStore. Equal bytes have equal ETags, as in S3.

    Attributes:
        objects: What it holds, by key.
        is_away: Every request fails, and is not carried out.
        lost_answers: So many writes from now on are carried out, and fail all the same.
        asked: The method and the key of every request.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_away = False
        self.lost_answers = 0
        self.asked: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            self._ask("list", prefix)
            found = [key for key in sorted(self.objects) if key.startswith(prefix)]
            return iter([self._info(key) for key in found if key > after])

    def folders(self, prefix: str) -> Iterator[str]:
        rests = [info.key.removeprefix(prefix) for info in self.list(prefix)]
        return iter(sorted({rest.partition("/")[0] for rest in rests if "/" in rest}))

    def get(self, key: str, *, first: int | None = None, last: int | None = None) -> Fetched:
        with self._lock:
            self._ask("get", key)
            if key not in self.objects:
                raise ObjectNotFound(f"there is no {key}")
            body = self.objects[key][first or 0 : None if last is None else last + 1]
            return Fetched(body=body, info=self._info(key), metadata={})

    def beginnings(self, keys: Sequence[str], size: int) -> Mapping[str, bytes]:
        return {key: self.get(key).body[:size] for key in keys if key in self.objects}

    def notes(self, keys: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return {key: {} for key in keys if key in self.objects}

    def head(self, key: str) -> tuple[ObjectInfo, Mapping[str, str]]:
        return self.get(key).info, {}

    def look(self, key: str) -> Fetched:
        return self.get(key)

    def ask(self, key: str) -> None:
        return None

    def is_there(self, key: str) -> bool:
        return key in self.objects

    def put(
        self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        with self._lock:
            self._ask("put", key)
            there = key in self.objects
            if (if_absent and there) or (
                if_match is not None and (not there or self._info(key).etag != if_match)
            ):
                raise PreconditionFailed(f"another writer was first: {key}")
            self.objects[key] = body
            self._lose()
            return self._info(key).etag

    def delete(self, key: str) -> None:
        with self._lock:
            self._ask("delete", key)
            self.objects.pop(key, None)
            self._lose()

    def server_time_ms(self) -> int:
        return 0

    def _ask(self, what: str, key: str) -> None:
        self.asked.append((what, key))
        if self.is_away:
            raise S3Unavailable("it is away")

    def _lose(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise S3Unavailable("the answer was lost")

    def _info(self, key: str) -> ObjectInfo:
        body = self.objects[key]
        return ObjectInfo(key=key, size=len(body), modified_ms=0, etag=f'"{hash(body)}"')
