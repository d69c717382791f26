"""`check` where something is wrong: it says what, once, and ends with the status of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obelisk_ops.app import checks
from obelisk_ops.check.finding import exit_status
from obelisk_ops.objectstore import ObjectStore, open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.settings import ReplicaSettings
from obelisk_ops.supervise.ownership import Owner
from obelisk_ops.supervise.sidecar import Sidecar
from tests.conftest import S3
from tests.faults import Refused, Skewed, SwallowedDelete
from tests.integration.test_check import written
from tests.proxy import Proxy
from tests.supervised import Plain

pytestmark = pytest.mark.xdist_group("check")

Told = tuple[dict[str, tuple[str, str]], int]


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Told]:
    """Check a replica, and return what each check told and the exit status."""

    def asked(replica: ReplicaSettings, **wanted: Any) -> Told:
        found = list(checks(written(tmp_path, replica), **wanted))
        told = {each.name: (str(each.told.outcome), each.told.detail) for each in found}
        return told, exit_status(found)

    return asked


@pytest.fixture
def proxy(s3: S3) -> Iterator[Proxy]:
    with Proxy(int(s3.endpoint.rpartition(":")[2])) as line:
        yield line


def failed(told: dict[str, tuple[str, str]]) -> list[str]:
    return [name for name, (outcome, _) in told.items() if outcome == "fail"]


@pytest.mark.fault(8)
def test_a_missing_bucket_is_one_failure(
    replica: ReplicaSettings, ask: Callable[..., Told]
) -> None:
    told, status = ask(replace(replica, bucket="no-such-bucket"))

    assert (failed(told), status) == (["bucket"], 6)
    assert "no bucket 'no-such-bucket'" in told["bucket"][1]
    assert told["pipe"] == ("skip", "rests on 'bucket', which failed")


@pytest.mark.fault(8)
def test_a_wrong_prefix_is_noticed_by_who_has_written_elsewhere(
    tmp_path: Path, replica: ReplicaSettings, ask: Callable[..., Told]
) -> None:
    path = tmp_path / "runs" / "a.db"
    Plain(path).close()
    owner = Owner(name="a", host="here", inode=path.stat().st_ino, epoch=1, owner="x")
    Sidecar(path).write_owner(owner)

    told, status = ask(replace(replica, prefix=f"{replica.prefix}-typo"), only=["backups"])

    assert (failed(told), status) == (["backups"], 10)
    assert told["backups"][1].endswith("from here: a")


@pytest.mark.fault(9)
def test_keys_that_may_only_read_fail_at_the_write(
    tmp_path: Path, embedded_s3: S3Server, ask: Callable[..., Told]
) -> None:
    pair, file = embedded_s3.identity("reader"), tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text(
        f"[default]\naws_access_key_id = {pair.access_key}\n"
        f"aws_secret_access_key = {pair.secret_key}\n"
    )
    replica = replace(embedded_s3.replica("only-read"), credentials=f"file:{file}")

    told, status = ask(replica)

    assert (failed(told), status) == (["credentials"], 11)
    assert "is denied by" in told["credentials"][1]
    assert told["bucket"][0] == "ok"
    assert list(open_store(replica).list("only-read")) == []


@pytest.mark.fault(7)
@pytest.mark.parametrize(("off_s", "words"), [(-3_600, "ahead"), (3_600, "behind")])
def test_a_clock_that_is_an_hour_off_has_a_status_of_its_own(
    off_s: int, words: str, proxy: Proxy, replica: ReplicaSettings, ask: Callable[..., Told]
) -> None:
    with proxy.fault(Skewed(off_s)):
        told, status = ask(replace(replica, endpoint=proxy.endpoint))

    assert (failed(told), status) == (["clock"], 12)
    assert f"s {words} of http://" in told["clock"][1]
    assert told["credentials"] == ("skip", "rests on 'clock', which failed")


@pytest.mark.fault(7)
def test_a_server_that_refuses_for_the_time_is_a_matter_of_the_clock(
    proxy: Proxy, replica: ReplicaSettings, ask: Callable[..., Told]
) -> None:
    with proxy.fault(Refused(403, "RequestTimeTooSkewed")), proxy.fault(Skewed(901)):
        told, status = ask(replace(replica, endpoint=proxy.endpoint))

    assert (failed(told), status) == (["clock"], 12)


@pytest.mark.fault(10)
def test_a_delete_that_deletes_nothing_is_counted(
    proxy: Proxy, replica: ReplicaSettings, ask: Callable[..., Told], store: ObjectStore
) -> None:
    with proxy.fault(SwallowedDelete()):
        told, status = ask(replace(replica, endpoint=proxy.endpoint), only=["cleanup"])

    assert (failed(told), status) == ([], 0)
    assert told["cleanup"][0] == "warn"
    assert told["cleanup"][1].startswith("1 object survived a delete")
    assert len(list(store.list(replica.prefix))) == 1


@pytest.mark.fault(1)
def test_a_bucket_that_does_not_answer_is_one_failure(
    proxy: Proxy, replica: ReplicaSettings, ask: Callable[..., Told]
) -> None:
    proxy.set("refuse")

    told, status = ask(replace(replica, endpoint=proxy.endpoint))

    assert (failed(told), status) == (["bucket"], 6)


@pytest.mark.fault(2)
@pytest.mark.chaos
def test_a_bucket_that_goes_away_in_the_middle_fails_within_the_deadline(
    tmp_path: Path, proxy: Proxy, replica: ReplicaSettings
) -> None:
    found, began = [], 0.0
    config = written(tmp_path, replace(replica, endpoint=proxy.endpoint))
    for each in checks(config, only=["pipe"]):
        found.append(each)
        if each.name == "credentials":
            proxy.set("blackhole")
            began = time.monotonic()

    assert time.monotonic() - began < 25
    assert found[-1].name == "pipe"
    assert found[-1].told.exit_status == 6
    assert list((tmp_path / ".obelisk-ops").iterdir()) == []
