"""What checks mean together, and the decisions inside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from obelisk_ops.check.bucket import touches
from obelisk_ops.check.finding import Finding, Outcome, Told, exit_status, fail, nagios, ok
from obelisk_ops.check.finding import skip as skipped
from obelisk_ops.check.finding import warn as warned
from obelisk_ops.check.machine import filesystem, has_wal_reset_bug
from obelisk_ops.check.running import Check, chosen, run
from obelisk_ops.check.service import CHECKS
from obelisk_ops.cli import main
from obelisk_ops.errors import (
    BucketMissing,
    ClockError,
    ConfigError,
    CredentialsError,
    OpsError,
    ReplicaNotFound,
    Unproven,
    UsageError,
)
from obelisk_ops.objectstore.rules import LifecycleRule, lifecycle_rules


def good(_: None) -> Told:
    return ok("seen")


def bad(error: Exception) -> Callable[[None], Told]:
    def raising(_: None) -> Told:
        raise error

    return raising


def named(name: str, run: Callable[[None], Told] = good, *needs: str) -> Check[None]:
    return Check(name=name, run=run, needs=needs)


# -- one cause is one failure ------------------------------------------------------------


def test_what_rests_on_a_failure_is_skipped_and_names_the_cause() -> None:
    checks = [
        named("bucket", bad(BucketMissing("gone", hint="make it"))),
        named("credentials", good, "bucket"),
        named("pipe", good, "credentials"),
        named("disk"),
    ]

    found = {each.name: each.told for each in run(checks, None)}

    assert [told.outcome for told in found.values()] == ["fail", "skip", "skip", "ok"]
    assert found["pipe"].detail == "rests on 'bucket', which failed"
    assert (found["bucket"].detail, found["bucket"].hint) == ("gone", "make it")
    assert found["bucket"].code == "bucket_missing"


def test_what_could_not_be_told_holds_up_nothing() -> None:
    checks = [named("bucket", lambda _: skipped("refused")), named("clock", good, "bucket")]

    assert [each.told.outcome for each in run(checks, None)] == [Outcome.SKIP, Outcome.OK]


def test_a_bug_in_one_check_stops_no_other() -> None:
    checks = [named("one", bad(ZeroDivisionError("x"))), named("two")]

    first, second = run(checks, None)

    assert first.told.detail == "this is a bug: ZeroDivisionError: x"
    assert second.told.outcome is Outcome.OK


@pytest.mark.parametrize(
    ("only", "without", "names"),
    [
        ((), (), ["a", "b", "c", "d"]),
        (("c",), (), ["a", "b", "c"]),
        (("a", "d"), (), ["a", "d"]),
        ((), ("b",), ["a", "c", "d"]),
        (("c",), ("b",), ["a", "c"]),
    ],
)
def test_which_checks_are_run(
    only: tuple[str, ...], without: tuple[str, ...], names: list[str]
) -> None:
    checks = [named("a"), named("b", good, "a"), named("c", good, "b"), named("d")]

    assert [check.name for check in chosen(checks, only=only, without=without)] == names


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        chosen(CHECKS, only=("disc",), without=())

    assert "disk" in caught.value.hint


def test_each_check_stands_behind_what_it_rests_on() -> None:
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names)
    for place, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:place])
        assert (check.run.__doc__ or "").endswith(".")


# -- what it means to a script -----------------------------------------------------------


def findings(*told: Told | OpsError) -> list[Finding]:
    return [
        Finding(name=f"c{n}", told=fail(one) if isinstance(one, OpsError) else one)
        for n, one in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "status", "for_nagios"),
    [
        ([ok("")], 0, 0),
        ([ok(""), skipped("")], 0, 0),
        ([ok(""), warned("", "")], 0, 1),
        ([BucketMissing("")], 6, 2),
        ([BucketMissing(""), CredentialsError("")], 11, 2),
        ([CredentialsError(""), ClockError(""), ConfigError("")], 3, 2),
        ([Unproven(""), warned("", "")], 4, 3),
        ([Unproven(""), ClockError("")], 12, 2),
        ([ReplicaNotFound("")], 1, 2),
    ],
)
def test_exit_statuses(told: list[Told | OpsError], status: int, for_nagios: int) -> None:
    found = findings(*told)

    assert exit_status(found) == status
    assert nagios(found)[1] == for_nagios


def test_a_line_for_nagios() -> None:
    found = findings(
        ok("fine", figures={"pipe": "1.20s"}),
        warned("off | on", "why?"),
        ClockError("late\nby 2"),
    )

    line, status = nagios(found)

    text, _, data = line.partition("|")
    assert status == 2
    assert text == (
        "OBELISK-OPS CRITICAL - 1 of 3 checks ok; FAIL c2: late by 2; WARN c1: off / on"
    )
    assert data == "checks_ok=1 checks_warn=1 checks_fail=1 checks_skip=0 pipe=1.20s"


def test_a_wrong_configuration_is_the_only_failure(tmp_path: Path) -> None:
    file = tmp_path / "obelisk-ops.yml"
    file.write_text("replica: {ur: s3://backups}\n")

    done = CliRunner().invoke(main, ["-c", str(file), "check", "--json"])

    told = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert done.exit_code == 3
    assert [name for name, each in told.items() if each["outcome"] == "fail"] == [
        "configuration"
    ]
    assert "nearest is 'url'" in told["configuration"]["detail"]
    assert told["pipe"]["outcome"] == "skip"
    assert told["litestream"]["outcome"] == "ok"


# -- decisions inside --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True),
        ((3, 44, 6), False), ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False),
        ((3, 51, 2), True), ((3, 51, 3), False), ((3, 54, 1), False),
    ],
)  # fmt: skip
def test_which_sqlite_has_the_bug(version: tuple[int, ...], *, has: bool) -> None:
    assert has_wal_reset_bug(version) is has


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/data/runs", "nfs4"), ("/srv/data", "nfs4"), ("/srv/database", "ext4"),
        ("/home/me", "ext4"), ("/run/x", "tmpfs"),
    ],
)  # fmt: skip
def test_which_file_system_a_path_is_on(path: str, kind: str) -> None:
    mounts = {"/": "ext4", "/srv/data": "nfs4", "/run": "tmpfs"}

    assert filesystem(Path(path), mounts) == kind


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (
            {"ID": "a", "Filter": {"Prefix": "p/"}, "Expiration": {"Days": 3}},
            LifecycleRule(name="a", prefix="p/", deletes_after_days=3),
        ),
        (
            {"ID": "old", "Prefix": "p/", "Expiration": {"Date": "2026-01-01"}},
            LifecycleRule(name="old", prefix="p/", deletes_after_days=0),
        ),
        (
            {
                "Filter": {"And": {"Prefix": "q/", "Tags": [{"Key": "k", "Value": "v"}]}},
                "Expiration": {"ExpiredObjectDeleteMarker": True},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
            },
            LifecycleRule(
                name="without a name", prefix="q/", is_narrow=True, forgets_versions=True
            ),
        ),
        (
            {
                "ID": "cold",
                "Transitions": [
                    {"Days": 1, "StorageClass": "STANDARD_IA"},
                    {"Days": 90, "StorageClass": "GLACIER"},
                    {"Days": 60, "StorageClass": "DEEP_ARCHIVE"},
                ],
            },
            LifecycleRule(name="cold", archives_after_days=60),
        ),
    ],
)
def test_what_a_lifecycle_rule_does(given: dict[str, object], rule: LifecycleRule) -> None:
    assert lifecycle_rules([{"Status": "Enabled", **given}]) == [rule]
    assert lifecycle_rules([{"Status": "Disabled", **given}]) == []


@pytest.mark.parametrize(
    ("rule", "prefix", "is_about"),
    [
        ("", "exp/", True), ("exp/", "exp/", True), ("e", "exp/", True),
        ("exp/a/", "exp/", True), ("other/", "exp/", False), ("x", "", True),
    ],
)  # fmt: skip
def test_which_rules_are_about_a_prefix(rule: str, prefix: str, *, is_about: bool) -> None:
    assert touches(LifecycleRule(name="r", prefix=rule), prefix) is is_about


def test_the_reference_names_each_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "checks.md").read_text()
    named = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]

    assert named[: len(CHECKS)] == [check.name for check in CHECKS]
