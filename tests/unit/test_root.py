"""Where a root may be founded, as a table of what the bucket holds."""

from __future__ import annotations

import pytest

from obelisk_ops.errors import Fenced, S3Unavailable
from obelisk_ops.replica.root import exists, found
from tests.buckets import MemoryStore

ROOT = "_obelisk/root.json"
MARKER = "_obelisk/e0001.json"


@pytest.mark.parametrize(
    ("prefix", "objects", "refusal"),
    [
        pytest.param("p", [], None, id="an empty bucket"),
        pytest.param("", [], None, id="a bucket of one's own"),
        pytest.param("p", [f"p/{ROOT}"], None, id="it is one already"),
        pytest.param("p", [f"p/db/{MARKER}", "p/db/e0001/0000/x.ltx"], None, id="of before"),
        pytest.param("", [f"db/{MARKER}"], None, id="of before, in a bucket of one's own"),
        pytest.param("p", ["other/thing", f"q/{ROOT}"], None, id="beside others"),
        pytest.param("p", [f"pq/{ROOT}"], None, id="beside one that begins alike"),
        pytest.param("p", ["p/notes/readme"], None, id="what is not ours is left alone"),
        pytest.param("p/q", [f"p/{ROOT}"], "lies in 'p'", id="in another root"),
        pytest.param("p/q/r", [f"p/{ROOT}"], "lies in 'p'", id="deep in another root"),
        pytest.param("p/db", [f"p/db/{MARKER}", f"p/{ROOT}"], "is the replica", id="a replica"),
        pytest.param("p/db", [f"p/db/{MARKER}"], "is the replica of", id="a replica of before"),
        pytest.param("p/db/x", [f"p/db/{MARKER}"], "lies in 'p/db'", id="in a replica"),
        pytest.param("p", [ROOT], "lies in the root of the bucket", id="in a whole bucket"),
        pytest.param("p", [f"p/q/{ROOT}"], "'p/q/' is in use", id="around another root"),
        pytest.param("p", [f"p/q/r/{ROOT}"], "'p/q/r/' is in use", id="far around one"),
        pytest.param("", [f"p/{ROOT}"], "'p/' is in use", id="a bucket with a root in it"),
        pytest.param("", ["notes"], "holds 'notes'", id="a bucket with loose objects"),
        pytest.param("", ["pictures/1.png"], "holds 'pictures/'", id="a bucket of others"),
    ],
)
def test_where_a_root_is_founded(prefix: str, objects: list[str], refusal: str | None) -> None:
    store = MemoryStore()
    store.objects = dict.fromkeys(objects, b"{}")
    marker = f"{prefix}/{ROOT}" if prefix else ROOT

    if refusal is None:
        found(store, prefix)
        found(store, prefix)
        assert marker in store.objects
    else:
        with pytest.raises(Fenced, match=refusal):
            found(store, prefix)
        assert sorted(store.objects) == sorted(objects)


def test_a_root_is_looked_around_once() -> None:
    store = MemoryStore()
    found(store, "p")
    store.asked.clear()

    found(store, "p")

    assert store.asked == [("get", "p/_obelisk/root.json")]


class Fading(MemoryStore):
    """It is away once something was written."""

    def put(
        self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        etag = super().put(key, body, if_absent=if_absent, if_match=if_match)
        self.is_away = if_absent
        return etag


def test_a_look_that_was_cut_short_does_not_count() -> None:
    store = Fading()
    store.objects = {f"p/q/{ROOT}": b"{}"}
    with pytest.raises(S3Unavailable):
        found(store, "p")
    store.is_away = False

    assert not exists(store, "p")
    with pytest.raises(Fenced, match="'p/q/' is in use"):
        found(store, "p")
    assert list(store.objects) == [f"p/q/{ROOT}"]


def test_what_another_has_begun_to_found_is_founded() -> None:
    store = Fading()
    with pytest.raises(S3Unavailable):
        found(store, "p")
    store.is_away = False

    found(store, "p")

    assert exists(store, "p")
