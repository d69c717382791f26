"""Fetching a replica from the bucket: its listing, and the headers of its files."""

from __future__ import annotations

from collections.abc import Sequence

from obelisk_ops.litestream import ltx
from obelisk_ops.litestream.ltx import Header
from obelisk_ops.objectstore import ObjectStore
from obelisk_ops.replica.absent import not_found
from obelisk_ops.replica.catalogue import LtxFile, Replica, build, ltx_file
from obelisk_ops.replica.epochs import read_epochs
from obelisk_ops.replica.layout import ReplicaKeys, epoch_of_folder


def read_replica(store: ObjectStore, keys: ReplicaKeys) -> Replica:
    """
    List a replica and work out what can be restored from it.

    Raises:
        ReplicaNotFound: There is neither a marker nor an LTX file.
        DamagedObject: A marker cannot be read.
    """
    # In this order: whatever is opened meanwhile, no epoch is seen without its marker, which
    # is there before its folder is. Where it branched would not be known.
    folders = _folders(store, keys)
    markers = read_epochs(store, keys)
    epochs = {marker.epoch for marker in markers} | folders
    files = {epoch: list_epoch(store, keys, epoch) for epoch in sorted(epochs)}
    if not markers and not any(files.values()):
        raise not_found(store, keys)
    return build(keys.name, files, markers)


def list_epoch(store: ObjectStore, keys: ReplicaKeys, epoch: int) -> list[LtxFile]:
    """Return the LTX files of one epoch."""
    folder = keys.epoch(epoch)
    listed = (ltx_file(info, epoch=epoch, folder=folder) for info in store.list(folder))
    return [file for file in listed if file is not None]


def read_header(store: ObjectStore, file: LtxFile) -> Header:
    """
    Read the header of a file and compare it with its name.

    Raises:
        ObjectNotFound: The file is gone.
        DamagedObject: It is shorter than any LTX file, or its header is not its own.
    """
    if file.size < ltx.SMALLEST_FILE_BYTES:
        # An empty object has no range that could be asked for.
        raise ltx.damaged(file.key, f"it ends after {file.size} bytes")
    fetched = store.get(file.key, first=0, last=ltx.HEADER_BYTES - 1)
    return parse_beginning(fetched.body, file)


def read_headers(store: ObjectStore, files: Sequence[LtxFile]) -> list[Header]:
    """
    Read the headers of many files at once.

    Raises:
        ObjectNotFound: One of the files is gone.
        DamagedObject: See ``read_header``.
    """
    read = store.beginnings([file.key for file in files], ltx.HEADER_BYTES)
    return [
        parse_beginning(read[file.key], file) if file.key in read else read_header(store, file)
        for file in files
    ]


def parse_beginning(data: bytes, file: LtxFile) -> Header:
    """
    Return the header that a file begins with, compared with its name.

    Raises:
        DamagedObject: It is none, or not its own.
    """
    header = ltx.parse_header(data, file.key)
    name = ltx.Name(level=file.level, min_txid=file.min_txid, max_txid=file.max_txid)
    ltx.check_header(header, name, file.key)
    return header


def _folders(store: ObjectStore, keys: ReplicaKeys) -> set[int]:
    found = (epoch_of_folder(name) for name in store.folders(keys.root))
    return {epoch for epoch in found if epoch is not None}
