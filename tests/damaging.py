"""Damage of every kind to objects of a replica, each in a way that can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from obelisk_ops.objectstore import ObjectStore

Bodies = dict[str, bytes]
#: changes the objects of a replica, given those of another database under the same names
Damage = Callable[[Bodies, Bodies, Random], str]


def with_content(ours: Bodies) -> list[str]:
    """Return the objects of which something is left to be damaged."""
    return sorted(key for key, body in ours.items() if body)


def flip_a_bit(ours: Bodies, _theirs: Bodies, draw: Random) -> str:
    key = draw.choice(with_content(ours))
    place = draw.randrange(len(ours[key]) * 8)
    body = bytearray(ours[key])
    body[place // 8] ^= 1 << place % 8
    ours[key] = bytes(body)
    return f"bit {place} of {key} is flipped"


def cut(ours: Bodies, _theirs: Bodies, draw: Random) -> str:
    key = draw.choice(with_content(ours))
    left = draw.choice([0, draw.randrange(len(ours[key])), len(ours[key]) - 1])
    ours[key] = ours[key][:left]
    return f"{key} is cut to {left} bytes"


def lengthen(ours: Bodies, _theirs: Bodies, draw: Random) -> str:
    key = draw.choice(sorted(ours))
    ours[key] += draw.randbytes(draw.choice([1, 16, 200]))
    return f"{key} is longer"


def delete(ours: Bodies, _theirs: Bodies, draw: Random) -> str:
    key = draw.choice(sorted(ours))
    del ours[key]
    return f"{key} is deleted"


def swap(ours: Bodies, _theirs: Bodies, draw: Random) -> str:
    one, two = draw.sample(sorted(ours), 2)
    ours[one], ours[two] = ours[two], ours[one]
    return f"{one} and {two} are swapped"


def exchange(ours: Bodies, theirs: Bodies, draw: Random) -> str:
    key = draw.choice(sorted(ours.keys() & theirs.keys()))
    ours[key] = theirs[key]
    return f"{key} is another database's"


DAMAGES: tuple[Damage, ...] = (flip_a_bit, cut, lengthen, delete, swap, exchange)


def bodies_of(store: ObjectStore, folder: str) -> Bodies:
    """Return all objects below a folder."""
    return {info.key: store.get(info.key).body for info in store.list(folder)}


@contextmanager
def as_it_was(store: ObjectStore, folder: str) -> Iterator[None]:
    """Let a test do what it wants below a folder, and put everything back after it."""
    before = bodies_of(store, folder)
    yield
    now = bodies_of(store, folder)
    for key in now.keys() - before.keys():
        store.delete(key)
    for key, body in before.items():
        if now.get(key) != body:
            store.put(key, body)
