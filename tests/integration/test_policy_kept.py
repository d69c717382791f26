"""The policies: held against what is really asked, and by a server that enforces them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from obelisk_ops.errors import CredentialsError
from obelisk_ops.objectstore import open_store
from obelisk_ops.objectstore.embedded import S3Server
from obelisk_ops.replica.policy import Role, policy
from obelisk_ops.settings import ReplicaSettings
from tests.commands import Commands
from tests.integration.test_check import written
from tests.proxy import Proxy, Seen
from tests.supervised import Plain, Supervised
from tests.unit.test_policy import listed, matches

pytestmark = pytest.mark.xdist_group("check")

PREFIX = "exp/one"
#: what the server's identities may do, by the action of a policy that is meant
_WORDS = {"s3:ListBucket": "List", "s3:GetObject": "Read", "s3:PutObject": "Write"}


def made(role: Role, **changes: Any) -> dict[str, Any]:
    place = ReplicaSettings(
        bucket="tests",
        prefix=PREFIX,
        endpoint="http://x",
        region="us-east-1",
        credentials="env",
    )
    return policy(replace(place, **changes), role)


def identity(role: Role) -> list[str]:
    """Return what the server is told of a role; it knows prefixes, and no single deletes."""
    actions = []
    for each in made(role)["Statement"]:
        for action in each["Action"]:
            place = listed(each["Resource"])[0].removeprefix("arn:aws:s3:::")
            if action in _WORDS:
                actions.append(f"{_WORDS[action]}:{place}")
    return actions


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server on which each role may do what its policy says, as far as it can tell."""
    identities = {role.value: identity(role) for role in (Role.WRITER, Role.READER)}
    folder = tmp_path_factory.mktemp("guarded")
    with S3Server(folder, bucket="tests", identities=identities) as server:
        yield server


def place(server: S3Server, role: Role, folder: Path, prefix: str = PREFIX) -> ReplicaSettings:
    """Return the server as somebody with this role sees it."""
    pair, file = server.identity(role.value), folder / f"keys-{role.value}"
    file.touch(mode=0o600)
    file.write_text(
        f"[default]\naws_access_key_id = {pair.access_key}\n"
        f"aws_secret_access_key = {pair.secret_key}\n"
    )
    return replace(server.replica(prefix), credentials=f"file:{file}")


def test_a_writer_writes_and_a_reader_only_reads(guarded: S3Server, tmp_path: Path) -> None:
    writer, reader = (place(guarded, role, tmp_path) for role in (Role.WRITER, Role.READER))
    with Supervised(tmp_path, writer) as supervised:
        supervised.database("a").write()
        assert supervised.once().returncode == 0
        checked = Commands(supervised.config).run("check", "--only", "pipe")

    commands = Commands(written(tmp_path, reader))
    restored = commands.run("restore", "a", "--to", tmp_path / "b.db", "--json")
    refused = commands.run("check", "--only", "credentials")

    assert checked.status == 0, checked.out
    assert restored.status == 0, restored.err
    assert refused.status == 11
    elsewhere = open_store(place(guarded, Role.WRITER, tmp_path, prefix="other"))
    with pytest.raises(CredentialsError):
        elsewhere.put("other/x", b"")


def test_the_policy_allows_every_request_that_is_made(
    tmp_path: Path, replica: ReplicaSettings
) -> None:
    port = int(str(replica.endpoint).rpartition(":")[2])
    Plain(tmp_path / "runs" / "a.db").close()
    with Proxy(port) as proxy:
        by_proxy = replace(replica, endpoint=proxy.endpoint)
        with Supervised(tmp_path, by_proxy) as supervised:
            assert supervised.once().returncode == 0
            assert Commands(supervised.config).run("check").status == 0
        seen = list(proxy.seen)

    allowed = policy(by_proxy, Role.WRITER)
    assert {"PUT", "GET", "DELETE"} <= {each.method for each in seen}
    assert {"obelisk-ops", "aws-sdk-go"} <= {
        word for each in seen for word in ("obelisk-ops", "aws-sdk-go") if word in each.agent
    }
    refused = [each for each in seen if not is_allowed(allowed, each, replica.bucket)]
    assert [each for each in refused if not may_be_refused(each)] == []


def may_be_refused(seen: Seen) -> bool:
    """Tell whether it is the look above the prefix, which does without an answer."""
    return seen.method == "GET" and "prefix=_obelisk%2F&" in seen.query


def is_allowed(allowed: dict[str, Any], seen: Seen, bucket: str) -> bool:
    """Decide on one request as AWS does, conditions of listings included."""
    asked = parse_qs(seen.query, keep_blank_values=True)
    key = seen.path.removeprefix(f"/{bucket}").lstrip("/")
    action = action_of(seen.method, key, asked)
    arn = f"arn:aws:s3:::{bucket}/{key}" if key else f"arn:aws:s3:::{bucket}"
    for each in allowed["Statement"]:
        fits = any(matches(arn, one) for one in listed(each["Resource"]))
        below = each.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        prefix = asked.get("prefix", [""])[0]
        if fits and action in each["Action"]:
            return below is None or any(matches(prefix, one) for one in below)
    return False


def action_of(method: str, key: str, asked: dict[str, list[str]]) -> str:
    rules = {
        "versioning": "s3:GetBucketVersioning", "lifecycle": "s3:GetLifecycleConfiguration",
        "object-lock": "s3:GetBucketObjectLockConfiguration",
    }  # fmt: skip
    if not key:
        return next((rules[name] for name in rules if name in asked), "s3:ListBucket")
    verb = {"HEAD": "Get", "GET": "Get", "PUT": "Put", "DELETE": "Delete", "POST": "Put"}[
        method
    ]
    return f"s3:{verb}Object"


def test_a_request_outside_is_noticed() -> None:
    allowed = made(Role.WRITER)
    ways = [
        ("GET", "/tests/other/x", ""), ("DELETE", f"/tests/{PREFIX}/a/_obelisk/e0001.json", ""),
        ("GET", "/tests", "list-type=2&prefix=other"), ("PUT", "/tests/x", ""),
    ]  # fmt: skip

    assert not any(
        is_allowed(allowed, Seen(method, path, query, ""), "tests")
        for method, path, query in ways
    )
    assert re.match("arn:aws:s3:::", listed(allowed["Statement"][0]["Resource"])[0])
