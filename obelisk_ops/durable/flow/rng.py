"""
Random numbers that are the same on every replay, platform and Python version.

A counter under SHA-256 rather than Mersenne Twister: the stream is a function
of the execution's id alone, and its definition fits in one line.
"""

from __future__ import annotations

import hashlib
import uuid
from random import Random

_FRACTION_BITS = 53


class ReplayRandom(Random):
    """A ``random.Random`` whose n-th draw is SHA-256(seed, n)."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0
        super().__init__(0)

    def random(self) -> float:
        """Return a float in [0, 1) with 53 random bits."""
        return self.getrandbits(_FRACTION_BITS) / (1 << _FRACTION_BITS)

    def getrandbits(self, k: int) -> int:
        """Return an integer in [0, 2**k)."""
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        digits = b"".join(self._block() for _ in range(-(-k // 256)))
        return int.from_bytes(digits, "big") >> (len(digits) * 8 - k)

    def seed(self, *_args: object, **_kwargs: object) -> None:
        """Ignore a request to reseed: the seed belongs to the execution."""

    def uuid4(self) -> uuid.UUID:
        """Return a UUID drawn from this stream."""
        return uuid.UUID(int=self.getrandbits(128), version=4)

    def _block(self) -> bytes:
        self._count += 1
        return hashlib.sha256(b"%b:%d" % (self._seed, self._count)).digest()
