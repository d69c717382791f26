"""A restore point read page by page, and what was written; mostly in the smallest pieces."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obelisk_ops.errors import DamagedObject, OpsError, RestorePointNotFound
from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.frames import Frame
from obelisk_ops.litestream.ltx import Name
from obelisk_ops.objectstore import Fetched, ObjectStore
from obelisk_ops.replica.catalogue import restore_points
from obelisk_ops.replica.image import Image, apart, join
from obelisk_ops.replica.layer import Sizes
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import list_epoch
from tests.buckets import MemoryStore
from tests.ltx import encode

KEYS = ReplicaKeys(prefix="p", name="run")
SIZE = 512
#: everything in small pieces: nothing is fetched whole, an index in dozens of parts
TINY = Sizes(replica=0, tail=200, part=100, part_max=200, cache=10 * SIZE)
WHOLE = Sizes()

State = Mapping[int, bytes]


def content(seed: int) -> bytes:
    noise = random.Random(seed).randbytes(SIZE // 4)
    return noise.ljust(SIZE, b"\0")


class History:
    """A database and its files: every change is a transaction, as Litestream ships it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.states: list[dict[int, bytes]] = [{}]
        self.changes: list[dict[int, bytes]] = [{}]
        self._seed = 0

    def write(self, pgnos: set[int], commit: int) -> None:
        """Change pages; what the database grows by is written too."""
        before = self.states[-1]
        changed = {n for n in pgnos if n <= commit} | set(range(len(before) + 1, commit + 1))
        self._seed += 1
        pages = {n: content(self._seed * 1000 + n) for n in changed or {1}}
        state = {n: page for n, page in before.items() if n <= commit} | pages
        self.states.append(state)
        self.changes.append(pages)
        self._put(0, self.last, self.last, pages)

    @property
    def last(self) -> int:
        return len(self.states) - 1

    def compact(self, level: int, first: int, last: int) -> None:
        """Write the changes of several transactions as one file."""
        pages: dict[int, bytes] = {}
        for changes in self.changes[first : last + 1]:
            pages |= changes
        commit = len(self.states[last])
        self._put(level, first, last, {n: p for n, p in pages.items() if n <= commit})

    def snapshot(self, last: int) -> None:
        self._put(9, 1, last, self.states[last])

    def key(self, level: int, first: int, last: int) -> str:
        name = Name(level=level, min_txid=first, max_txid=last)
        return KEYS.epoch(1) + ltx.file_name(name)

    def _put(self, level: int, first: int, last: int, pages: State) -> None:
        commit = len(self.states[last])
        file = encode(pages, commit=commit, first=first, last=last)
        self.store.objects[self.key(level, first, last)] = file


def read(history: History, txid: int, sizes: Sizes = TINY) -> Image:
    return Image(cast("ObjectStore", history.store), KEYS, 1, txid, sizes=sizes)


def all_of(image: Image) -> State:
    return {pgno: image.page(pgno) for pgno in range(1, image.pages + 1)}


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History()
    sizes = st.integers(1, 40)
    for _ in range(draw(st.integers(1, 8))):
        history.write(draw(st.sets(sizes, max_size=6)), draw(sizes))
    for _ in range(draw(st.integers(0, 3))):
        first = draw(st.integers(1, history.last))
        last = draw(st.integers(first, history.last))
        history.compact(draw(st.integers(1, 3)), first, last)
    for last in draw(st.sets(st.integers(1, history.last), max_size=2)):
        history.snapshot(last)
    gone = draw(st.sets(st.sampled_from(sorted(history.store.objects)), max_size=2))
    for key in gone:
        del history.store.objects[key]
    return history


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_every_restore_point_of_random_histories(
    history: History, chance: random.Random
) -> None:
    files = list_epoch(cast("ObjectStore", history.store), KEYS, 1)
    for point in restore_points(files):
        expected = history.states[point.txid]
        for sizes in (TINY, WHOLE):
            with read(history, point.txid, sizes) as image:
                order = sorted(expected)
                chance.shuffle(order)
                assert {pgno: image.page(pgno) for pgno in order} == expected
                assert image.pages == len(expected)


@pytest.fixture
def large() -> History:
    """Two hundred pages, and a few changes on top."""
    history = History()
    history.write(set(), 200)
    history.snapshot(1)
    history.write({7, 8, 150}, 200)
    history.write({8}, 190)
    return history


def test_one_page_costs_a_few_small_reads(large: History) -> None:
    with read(large, 3) as image:
        before, fetched = image.requests, image.fetched_bytes

        assert image.page(100) == large.states[3][100]

        assert image.requests - before <= 5
        assert image.fetched_bytes - fetched < 10_000 < image.stored_bytes
        assert not image.is_proven


def test_reading_all_of_it_costs_no_more_than_all_of_it(large: History) -> None:
    with read(large, 3, Sizes(replica=0, tail=200)) as image:
        assert all_of(image) == large.states[3]

        assert image.fetched_bytes < 1.5 * image.stored_bytes
        assert image.requests < 30


def test_a_small_replica_is_fetched_whole_and_once(large: History) -> None:
    with read(large, 3, WHOLE) as image:
        assert image.is_proven
        opened = image.requests

        assert all_of(image) == large.states[3]

        assert image.requests == opened == 3
        assert image.fetched_bytes == image.stored_bytes


def test_no_more_is_kept_than_is_allowed(large: History) -> None:
    with read(large, 3) as image:
        for pgno in range(1, 191):
            image.page(pgno)
            assert len(image._cache) <= max(10, 16 * 8)


def test_the_page_of_the_lock_is_empty() -> None:
    history = History()
    history.write(set(), 3)
    with read(history, 1) as image:
        image._lock_page = 2

        assert image.page(2) == bytes(SIZE)


@pytest.mark.fault(36)
def test_retention_takes_files_away_while_they_are_read(large: History) -> None:
    large.compact(1, 2, 3)
    with read(large, 3) as image:
        image.page(1)
        large.write({1}, 190)  # what is written meanwhile changes nothing
        del large.store.objects[large.key(9, 1, 1)]  # the first file of level 0 has it too
        del large.store.objects[large.key(1, 2, 3)]

        assert all_of(image) == large.states[3]


@pytest.mark.fault(36)
def test_a_restore_point_that_retention_takes_away_is_named(large: History) -> None:
    with read(large, 3) as image:
        image.page(1)
        large.store.objects.clear()

        with pytest.raises(RestorePointNotFound, match=r"e0001/txid:3.*retention") as refused:
            all_of(image)
    assert refused.value.hint


def test_a_point_that_never_was_is_refused(large: History) -> None:
    with pytest.raises(RestorePointNotFound):
        read(large, 4)


def damage(change: Callable[[bytearray], None]) -> Callable[[History], None]:
    def apply(history: History) -> None:
        key = history.key(9, 1, 1)
        body = bytearray(history.store.objects[key])
        change(body)
        history.store.objects[key] = bytes(body)

    return apply


DAMAGES: dict[str, Callable[[History], None]] = {
    "nothing is left of it": damage(lambda body: body.clear()),
    "it is cut off": damage(lambda body: body.__setitem__(slice(len(body) // 2, None), b"")),
    "it is no LTX file": damage(lambda body: body.__setitem__(0, 7)),
    "its index is gone": damage(lambda body: body.__setitem__(slice(-1500, -24), bytes(1476))),
    "its index has no size": damage(lambda body: body.__setitem__(slice(-24, -16), bytes(8))),
    "its pages are noise": damage(
        lambda body: body.__setitem__(slice(200, 9000), random.Random(1).randbytes(8800))
    ),
    "its name is another's": lambda history: history.store.objects.update(
        {history.key(9, 1, 1): history.store.objects[history.key(0, 2, 2)]}
    ),
    "others have pages of another size": lambda history: history.store.objects.update(
        {history.key(0, 3, 3): encode({8: bytes(1024)}, commit=190, first=3)}
    ),
}


@pytest.mark.parametrize("sizes", [TINY, Sizes(replica=0), WHOLE])
@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.fault(12, 13)
def test_damage_is_named(large: History, name: str, sizes: Sizes) -> None:
    DAMAGES[name](large)

    with pytest.raises(DamagedObject), read(large, 3, sizes) as image:
        all_of(image)


def test_a_page_that_no_file_holds_is_named() -> None:
    history = History()
    history.write(set(), 5)
    pages = {n: page for n, page in history.states[1].items() if n != 4}
    history.store.objects[history.key(0, 1, 1)] = encode(pages, commit=5)

    with pytest.raises(DamagedObject), read(history, 1) as image:
        all_of(image)


@pytest.mark.fault(12)
@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_found_or_is_in_one_page_alone(large: History, seed: int) -> None:
    """What still unpacks is found only by whoever reads all of an object: restore, verify."""
    chance = random.Random(seed)
    key, expected = large.key(9, 1, 1), large.states[3]
    whole = large.store.objects[key]
    for _ in range(60):
        body = bytearray(whole)
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        large.store.objects[key] = bytes(body)
        with pytest.raises(DamagedObject), read(large, 3, WHOLE):
            pass
        try:
            with read(large, 3) as image:
                found = all_of(image)
        except DamagedObject:
            continue
        differing = [pgno for pgno in expected if found[pgno] != expected[pgno]]
        assert len(found) == len(expected)
        assert len(differing) <= 1, seed


def test_an_object_that_changes_while_it_is_read_is_not_believed(large: History) -> None:
    with read(large, 3) as image:
        large.store.objects[large.key(9, 1, 1)] += b"\0"

        with pytest.raises(DamagedObject, match="was listed with"):
            all_of(image)


def test_what_a_fetch_raises_ends_the_read_and_not_the_image(large: History) -> None:
    with read(large, 3) as image:
        large.store.is_away = True
        with pytest.raises(OpsError):
            image.page(100)
        large.store.is_away = False

        assert image.page(100) == large.states[3][100]


def test_an_opening_that_fails_leaves_no_thread(
    large: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object, **_more: object) -> Fetched:
        raise DamagedObject("no")

    monkeypatch.setattr(large.store, "get", away)
    with pytest.raises(DamagedObject):
        read(large, 3)


def test_frames_that_are_near_are_fetched_together() -> None:
    frames = [Frame(9, 500_000, 10), Frame(1, 100, 50), Frame(2, 150, 50), Frame(4, 5_000, 50)]

    runs = join(frames)

    assert [[frame.pgno for frame in run] for run in runs] == [[1, 2, 4], [9]]


def test_no_range_is_longer_than_a_megabyte() -> None:
    runs = join(Frame(n, n * 60_000, 60_000) for n in range(100))

    assert max(run[-1].offset + run[-1].size - run[0].offset for run in runs) <= 2**20


def test_parts_of_an_index_are_fetched_once() -> None:
    parts = [(1, 50, 150), (1, 0, 100), (2, 0, 100), (1, 150, 160), (1, 0, 100)]

    assert apart(parts) == [(1, 0, 100), (1, 150, 160), (2, 0, 100)]
