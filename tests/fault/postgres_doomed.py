"""
An owner of a schema that commits as fast as it can, and says what was acknowledged.

Arguments: the URL, and after how many commits to end. Each commit appends a number to three
logs, or to one; a store that is away is asked again, as the engine does.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing

from obelisk_ops.core.ports import State, StateRow, Write
from obelisk_ops.errors import StorageUnavailable
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.store import PostgresStore

KEYS = (1, 2, 3)


def main(url: str, count: int) -> None:
    with closing(PostgresStore(place.read(url))) as store:
        found = {key: store.ends(key)[0] for key in KEYS}
        if not any(found.values()):
            rows = [
                StateRow(
                    key=key, id=f"e{key}", function="m.f", state=State.RUNNING, created_at=1
                )
                for key in KEYS
            ]
            assert store.commit([Write(row.key, [], created=[row]) for row in rows]) == {}
        print("up", flush=True)  # noqa: T201
        for number in range(found[1], found[1] + count):
            keys = KEYS if number % 3 == 0 else KEYS[:1]
            writes = [
                Write(key, [(key, found[key], number, "returned", str(number))]) for key in keys
            ]
            commit(store, writes)
            for key in keys:
                found[key] += 1
            print(number, flush=True)  # noqa: T201


def commit(store: PostgresStore, writes: list[Write]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert store.commit(writes) == {}
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
