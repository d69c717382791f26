"""What ``exec`` does when something is wrong: at its start, beside the program, at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from obelisk_ops.objectstore import open_store
from obelisk_ops.replica.epochs import EpochMarker, open_epoch
from obelisk_ops.replica.expectation import expect
from obelisk_ops.replica.layout import ReplicaKeys
from obelisk_ops.settings import ReplicaSettings
from tests.conftest import S3
from tests.entry import Entry
from tests.proxy import Proxy
from tests.support import runs, wait_until

pytestmark = pytest.mark.xdist_group("exec-faults")


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"prefix": "elsewhere"}, 7, "nor a backup at s3://tests/elsewhere/orders"),
        ({"bucket": "no-such-bucket"}, 6, "no-such-bucket"),
        ({"credentials": "file:KEYS"}, 11, ""),
    ],
    ids=["wrong prefix", "wrong bucket", "wrong credentials"],
)  # fmt: skip
def test_a_wrong_place_never_starts_the_command_empty(
    change: dict[str, str], status: int, said: str, tmp_path: Path, replica: ReplicaSettings
) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    keys.write_text("[default]\naws_access_key_id = NOBODY\naws_secret_access_key = NOTHING\n")
    wrong = {name: value.replace("KEYS", str(keys)) for name, value in change.items()}
    # That a database is expected is said elsewhere, where it is right.
    right = ReplicaKeys(prefix=replica.prefix, name="orders")
    expect(open_store(replica), right, host="here", now_ms=0)
    entry = Entry(tmp_path, replace(replica, **wrong))

    done = entry.run()

    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert said in done.stderr
    assert not entry.database.exists()


@pytest.mark.fault(8)
def test_a_database_of_which_nothing_was_shipped_is_not_begun_anew_in_silence(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    marker = EpochMarker(
        epoch=1, parent=None, database_id=None, host="gone", inode=1, opened_at_ms=0, owner="x"
    )
    open_epoch(open_store(replica), ReplicaKeys(prefix=replica.prefix, name="orders"), marker)

    done = Entry(tmp_path, replica).run("--first-boot")

    assert (done.returncode, done.stdout) == (7, "")
    assert "there was a database, and nothing of it was ever shipped" in done.stderr
    assert "--no-restore" in done.stderr


@pytest.mark.fault(30)
def test_what_is_left_of_an_older_database_is_not_mixed_in(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    entry = Entry(tmp_path, replica)
    assert entry.run("--first-boot").returncode == 0
    entry.lose_the_disk()
    log = entry.database.with_name("orders.db-wal")
    log.write_bytes(b"old")
    done = entry.run()
    assert (done.returncode, done.stdout) == (8, "")
    assert f"{log} exists" in done.stderr

    log.unlink()
    entry.database.touch()
    done = entry.run()
    assert (done.returncode, done.stdout) == (8, "")
    assert "is empty, and there is a backup of it" in done.stderr
    assert entry.database.stat().st_size == 0


@pytest.mark.fault(1)
def test_a_bucket_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, replica: ReplicaSettings, proxy: Proxy
) -> None:
    place = replace(replica, endpoint=proxy.endpoint)
    entry = Entry(tmp_path, place)
    assert entry.run("--first-boot").returncode == 0
    proxy.set("refuse")
    entry.configure(place, stop_timeout="2s")

    done = entry.run("--wait", "1s")
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert "connection refused" in done.stderr.splitlines()[-2]

    done = entry.run("--wait", "0s")
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert "warning: not everything is proven to be in the bucket" in done.stderr


@pytest.mark.fault(24)
def test_a_stop_without_s3_says_what_is_unsent(
    tmp_path: Path, replica: ReplicaSettings, proxy: Proxy
) -> None:
    place = replace(replica, endpoint=proxy.endpoint)
    with Entry(tmp_path, place, stop_timeout="2s") as entry:
        entry.start("--first-boot", "--strict", status=0)
        wait_until(lambda: entry.logged("state"), 10, "it is replicated")
        proxy.set("refuse")
        entry.process.terminate()

        assert entry.ended() == 4, "the command has ended with 0, but --strict wants a proof"
        assert entry.logged("command_ended")[0]["status"] == 0
        assert "warning: not everything is proven to be in the bucket\n  orders: " in entry.said


@pytest.mark.fault(25)
def test_a_second_signal_ends_everything_at_once(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    with Entry(tmp_path, replica, stop_timeout="20m") as entry:
        script = f"{entry.python('')[0]} -c 'print(1)'; trap '' TERM; echo ready; sleep 600"
        entry.start("--first-boot", "--grace", "10m", argv=["sh", "-c", script])
        entry.process.terminate()
        wait_until(lambda: entry.logged("stopping"), 5, "it stops")
        assert entry.process.poll() is None
        entry.process.send_signal(signal.SIGINT)

        assert entry.ended() == 137


def test_a_command_that_does_not_end_is_ended(tmp_path: Path, replica: ReplicaSettings) -> None:
    script = "trap '' TERM; echo ready; sleep 60"
    with Entry(tmp_path, replica, databases=[]) as entry:
        entry.start("--grace", "200ms", argv=["sh", "-c", script])
        entry.process.terminate()

        assert entry.ended() == 137
        assert entry.logged("command_killed")


@pytest.mark.fault(21)
def test_a_killed_entrypoint_leaves_no_litestream_behind(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    with Entry(tmp_path, replica).start("--first-boot") as entry:
        wait_until(lambda: entry.logged("litestream_started"), 10, "it is replicated")
        litestream = entry.litestream
        others = [child for child in entry.children if child != litestream]
        entry.process.kill()

        wait_until(lambda: not any(map(runs, [litestream, *others])), 10, "they have ended")
        assert "SIGTERM" in entry.out, "the command may end in its own way"


@pytest.mark.fault(18)
def test_a_second_machine_waits_for_the_first_and_is_refused_while_it_lives(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    lease = {"ttl": "2s"}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    second = Entry(tmp_path / "second", replica, lease=lease)
    with Entry(tmp_path / "first", replica, lease=lease).start("--first-boot") as first:
        wait_until(lambda: first.logged("state"), 10, "it is replicated")

        done = second.run("--wait", "1s")
        assert (done.returncode, done.stdout) == (9, ""), done.stderr
        assert "owns 'orders', and lives as far as is known" in done.stderr
        assert not second.database.exists(), "a copy of now would be out of date by then"

        first.process.kill()
    done = second.run()
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert "orders: waiting until " in done.stderr
