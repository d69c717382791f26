"""
A database at a restore point, read page by page from its objects. Nothing is restored.

The files are those that a restore would read. Of those that hold a page the newest counts,
and the last one says how many pages there are: what a restore writes, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from types import TracebackType
from typing import TypeVar

from obelisk_ops.core.when import Txid, show
from obelisk_ops.errors import DamagedObject, ObjectNotFound, RestorePointNotFound
from obelisk_ops.litestream.frames import Frame, decode_page, frames_in, lock_page
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.ahead import ReadAhead
from obelisk_ops.replica.catalogue import LtxFile, walk
from obelisk_ops.replica.layer import Layer, Sizes, fetch, open_layer
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.replica.reading import list_epoch

T = TypeVar("T")
U = TypeVar("U")

_THREADS = 16
#: Frames that are no farther apart than this are fetched together with what is in between.
_GAP_BYTES = 8 * 1024
_RANGE_BYTES_MAX = 1024 * 1024
_PLANS_MAX = 4
_SIZES = Sizes()


class Image(AbstractContextManager["Image"]):
    """
    The pages of one restore point. For one thread; it fetches with many.

    Attributes:
        page_size: Bytes of a page.
        pages: How many there are.
        stored_bytes: Bytes of the objects.
        is_proven: Whether every object was fetched whole, and its checksum holds.
        fetched_bytes: Bytes that were fetched so far.
        requests: How often something was.
    """

    def __init__(
        self, store: ObjectStore, keys: ReplicaKeys, epoch: int, txid: int,
        files: Sequence[LtxFile] = (), sizes: Sizes = _SIZES,
    ) -> None:  # fmt: skip
        """
        Fetch the ends of all files, and what is small.

        Args:
            store: The bucket.
            keys: The replica.
            epoch: The epoch of the restore point.
            txid: Its transaction.
            files: Those that lead to it, if they were listed already.
            sizes: How much is fetched and kept.

        Raises:
            RestorePointNotFound: No files lead there, or retention has removed them.
            DamagedObject: One of them is damaged.
        """
        self._store, self._keys, self._point = store, keys, Txid(txid, epoch)
        self._sizes = sizes
        self._pool = ThreadPoolExecutor(max_workers=_THREADS)
        self._layers: list[Layer] = []
        self._cache: dict[int, bytes] = {}
        self.requests = self.fetched_bytes = 0
        self.on_fetch: Callable[[], None] = _nothing
        try:
            self._despite_retention(lambda: None, files)
        except BaseException:
            self._pool.shutdown(cancel_futures=True)
            raise
        header = self._layers[-1].header
        self.page_size, self.pages = header.page_size, header.commit
        self._lock_page = lock_page(self.page_size)
        self._ahead = ReadAhead(self.page_size, self._cache.get)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def page(self, pgno: int) -> bytes:
        """
        Return a page.

        Raises:
            DamagedObject: No file holds it, or what it holds is no page of this size.
            RestorePointNotFound: Retention has removed the restore point meanwhile.
        """
        if pgno == self._lock_page:
            return bytes(self.page_size)
        found = self._cache.get(pgno)
        if found is None:
            wanted = [n for n in self._ahead.wanted(pgno) if self._is_absent(n)]
            self._despite_retention(lambda: self._load(wanted))
            found = self._cache[pgno]
            self._forget(keep=len(wanted))
        self._ahead.saw(pgno, found)
        return found

    def _is_absent(self, pgno: int) -> bool:
        return 0 < pgno <= self.pages and pgno != self._lock_page and pgno not in self._cache

    def _forget(self, keep: int) -> None:
        most = max(self._sizes.cache // self.page_size, keep)
        while len(self._cache) > most:
            del self._cache[next(iter(self._cache))]

    def _despite_retention(
        self, action: Callable[[], None], files: Sequence[LtxFile] = ()
    ) -> None:
        """Do something; when a file has gone, plan anew: others hold the same pages."""
        for _ in range(_PLANS_MAX):
            try:
                if not self._layers:
                    self._open(files or self._plan())
                action()
            except ObjectNotFound:
                files, self._layers = (), []
            else:
                return
        raise self._gone()

    def _plan(self) -> Sequence[LtxFile]:
        epoch = self._point.epoch or 0
        files = walk(list_epoch(self._store, self._keys, epoch), self._point.txid)
        if not files or files[-1].max_txid != self._point.txid:
            raise self._gone()
        return files

    def _gone(self) -> RestorePointNotFound:
        return RestorePointNotFound(
            f"'{self._keys.name}' at {show(self._point)} is not there any more: retention "
            "removed it meanwhile",
            hint=f"see what is there now: obelisk-ops replica points {self._keys.name}",
        )

    def _open(self, files: Sequence[LtxFile]) -> None:
        self.stored_bytes = sum(file.size for file in files)
        self.is_proven = self.stored_bytes <= self._sizes.replica
        opened = partial(open_layer, self._store, sizes=self._sizes, is_whole=self.is_proven)
        self._layers = self._all(opened, files)
        for layer in self._layers:
            self._count(layer.fetched, requests=2 if layer.body is None else 1)
        sizes = {layer.header.page_size for layer in self._layers}
        if len(sizes) != 1:
            last = self._layers[-1].file.key
            raise DamagedObject(f"the files that lead to {last} have pages of several sizes")
        self._newest = {
            pgno: number
            for number, layer in enumerate(self._layers) if layer.index.is_complete
            for pgno in layer.index.pages
        }  # fmt: skip
        numbered = list(enumerate(self._layers))
        self._partial = [n for n, layer in reversed(numbered) if not layer.index.is_complete]

    def _load(self, pgnos: Sequence[int]) -> None:
        found = self._locate(pgnos)
        ranges = [(number, run) for number in sorted(found) for run in join(found[number])]
        for (number, run), body in zip(ranges, self._all(self._body, ranges), strict=True):
            if self._layers[number].body is None:
                self._count(len(body))
            for frame in run:
                self._keep(number, frame, body, run[0].offset)
            self._keep_others(number, body, run)

    def _keep(self, number: int, frame: Frame, body: bytes, at: int) -> None:
        stored = memoryview(body)[frame.offset - at :][: frame.size]
        key = self._layers[number].file.key
        self._cache[frame.pgno] = decode_page(stored, frame, self.page_size, key)

    def _keep_others(self, number: int, body: bytes, run: Sequence[Frame]) -> None:
        """Keep what came along between pages that were wanted, unless a later file has it."""
        at = run[0].offset
        if sum(frame.size for frame in run) == len(body):
            return
        with suppress(DamagedObject):  # told when it is asked for
            for frame in frames_in(body, at):
                if self._is_absent(frame.pgno) and self._find(frame.pgno) == (number, frame):
                    self._keep(number, frame, body, at)

    def _body(self, wanted: tuple[int, Sequence[Frame]]) -> bytes:
        number, run = wanted
        layer = self._layers[number]
        begin, end = run[0].offset, run[-1].offset + run[-1].size
        if layer.body is not None:
            return layer.body[begin:end]
        return self._fetch(layer, begin, end)

    def _locate(self, pgnos: Iterable[int]) -> dict[int, list[Frame]]:
        """Return where pages are, by the number of the layer."""
        found: dict[int, list[Frame]] = {}
        unknown = list(pgnos)
        while unknown:
            parts: list[tuple[int, int, int]] = []
            still: list[int] = []
            for pgno in unknown:
                number, place = self._find(pgno)
                if isinstance(place, Frame):
                    found.setdefault(number, []).append(place)
                else:
                    parts.append((number, *place))
                    still.append(pgno)
            self._learn(apart(parts))
            unknown = still
        return found

    def _find(self, pgno: int) -> tuple[int, Frame | tuple[int, int]]:
        """Return the layer, and where in it a page is or what of its index is missing."""
        newest = self._newest.get(pgno, -1)
        for number in self._partial:
            if number < newest:
                break
            index = self._layers[number].index
            if (part := index.missing(pgno, self.pages)) is not None:
                return number, part
            if (frame := index.find(pgno)) is not None:
                return number, frame
        frame = self._layers[newest].index.find(pgno) if newest >= 0 else None
        if frame is None:
            last = self._layers[-1].file.key
            raise DamagedObject(
                f"none of the files that lead to {last} holds page {pgno}",
                hint="restore an earlier point; see 'obelisk-ops replica points NAME'",
            )
        return newest, frame

    def _learn(self, parts: Sequence[tuple[int, int, int]]) -> None:
        def get(part: tuple[int, int, int]) -> bytes:
            number, begin, end = part
            return self._fetch(self._layers[number], begin, end)

        for (number, begin, _), data in zip(parts, self._all(get, parts), strict=True):
            self._count(len(data))
            self._layers[number].index.learn(data, begin)

    def _count(self, size: int, requests: int = 1) -> None:
        self.fetched_bytes += size
        self.requests += requests

    def _fetch(self, layer: Layer, begin: int, end: int) -> bytes:
        return fetch(self._store, layer.file, begin, end)

    def _all(self, action: Callable[[T], U], items: Sequence[T]) -> list[U]:
        """Do the same with all of several, at the same time."""
        if items:
            self.on_fetch()
        if len(items) == 1:
            return [action(items[0])]
        return list(self._pool.map(action, items))


def join(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Return frames of one file by the ranges in which they are fetched, in their order."""
    runs: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda frame: frame.offset):
        run = runs[-1] if runs else None
        if (
            run is not None
            and frame.offset - (run[-1].offset + run[-1].size) <= _GAP_BYTES
            and frame.offset + frame.size - run[0].offset <= _RANGE_BYTES_MAX
        ):
            run.append(frame)
        else:
            runs.append([frame])
    return runs


def apart(parts: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Return parts of indexes, layer, begin and end, without those that overlap others."""
    chosen: list[tuple[int, int, int]] = []
    for number, begin, end in sorted(parts):
        if not chosen or (number, begin) >= (chosen[-1][0], chosen[-1][2]):
            chosen.append((number, begin, end))
    return chosen


def _nothing() -> None:
    return None
