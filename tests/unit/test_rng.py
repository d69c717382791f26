"""Random numbers that are on disk for ever: pinned, because a replay draws them again."""

from __future__ import annotations

import pytest

from obelisk_ops.durable.flow.rng import ReplayRandom

PINNED = [
    0.044807462155845745,
    15,
    "e4bcc385-d467-494a-ac04-926247289c49",
    int(
        "b5b4421483e0a3f88049b6e10966101af2780a0e7d0dfb398cc8c47e01f8629574676e641c",
        16,
    ),
]


@pytest.mark.behaviour("O47")
def test_the_stream_is_pinned() -> None:
    stream = ReplayRandom("x")

    drawn = [
        stream.random(), stream.randint(1, 100), str(stream.uuid4()), stream.getrandbits(300),
    ]  # fmt: skip

    assert drawn == PINNED


def test_the_same_seed_is_the_same_stream() -> None:
    one, other = ReplayRandom("order-42"), ReplayRandom("order-42")

    assert [one.random() for _ in range(50)] == [other.random() for _ in range(50)]
    assert ReplayRandom("order-43").random() != ReplayRandom("order-42").random()


def test_the_seed_belongs_to_the_execution() -> None:
    plain, reseeded = ReplayRandom("x"), ReplayRandom("x")

    reseeded.seed(1)

    assert plain.random() == reseeded.random()


@pytest.mark.behaviour("O48")
def test_bounds_are_inclusive() -> None:
    stream = ReplayRandom("x")

    assert {stream.randint(1, 3) for _ in range(200)} == {1, 2, 3}
    assert stream.randint(7, 7) == 7
    assert stream.getrandbits(0) == 0
    assert all(0 <= stream.random() < 1 for _ in range(1000))
    with pytest.raises(ValueError, match="negative"):
        stream.getrandbits(-1)


def test_everything_random_has_comes_from_the_stream() -> None:
    def draw(stream: ReplayRandom) -> list[object]:
        deck = list(range(10))
        stream.shuffle(deck)
        return [
            deck, stream.choice("abc"), stream.sample(range(99), 3), stream.gauss(0, 1),
            stream.randbytes(4), stream.uniform(1, 2), stream.choices("ab", k=5),
        ]  # fmt: skip

    assert draw(ReplayRandom("x")) == draw(ReplayRandom("x"))


def test_a_uuid_says_that_it_is_random() -> None:
    drawn = {ReplayRandom("x").uuid4(), ReplayRandom("y").uuid4()}

    assert [made.version for made in drawn] == [4, 4]
