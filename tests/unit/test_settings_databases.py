"""Which files the configuration means, and their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from obelisk_ops.errors import ConfigError
from obelisk_ops.settings import (
    DatabaseSettings,
    Settings,
    check_name,
    expand_databases,
    find_databases,
    name_of_path,
    named_databases,
    path_of,
)


def settings(folder: Path, *entries: tuple[str, str]) -> Settings:
    return Settings(
        state_dir=folder,
        databases=tuple(
            DatabaseSettings(path=str(folder / path), name=name) for path, name in entries
        ),
    )


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_glob_means_the_databases_and_not_what_lies_beside_them(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.db",
        "b.db",
        "a.db-wal",
        "a.db-shm",
        "a.db-journal",
        ".c.db",
        ".a.db-obelisk/x",
    )
    (tmp_path / "folder.db").mkdir()

    assert expand_databases(settings(tmp_path, ("*", "{stem}"))) == {
        "a": tmp_path / "a.db",
        "b": tmp_path / "b.db",
    }


def test_a_plain_path_counts_before_its_file_exists(tmp_path: Path) -> None:
    found = expand_databases(settings(tmp_path, ("later.db", "{stem}"), ("*.db", "{stem}")))

    assert found == {"later": tmp_path / "later.db"}


def test_a_template_names_files_of_many_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x/run.db", "y/z/run.db")

    found = expand_databases(settings(tmp_path, ("**/*.db", "{parent}-{name}")))

    assert sorted(found) == ["x-run.db", "z-run.db"]


def test_one_file_may_match_twice_under_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.db")

    assert (
        len(expand_databases(settings(tmp_path, ("a.db", "{stem}"), ("*.db", "{stem}")))) == 1
    )


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x/run.db", "y/run.db")

    with pytest.raises(ConfigError, match=r"named 'run': .*x/run\.db and .*y/run\.db") as wrong:
        expand_databases(settings(tmp_path, ("*/run.db", "{stem}")))

    assert "{parent}-{stem}" in wrong.value.hint


def test_one_file_of_two_names_is_refused_through_a_link_too(tmp_path: Path) -> None:
    touch(tmp_path, "a.db")
    (tmp_path / "b.db").symlink_to("a.db")

    with pytest.raises(ConfigError, match="two names"):
        expand_databases(settings(tmp_path, ("*.db", "{stem}")))


def test_a_file_name_that_cannot_name_a_database_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "with space.db")

    with pytest.raises(ConfigError, match=r"with space\.db: 'with space' cannot name"):
        expand_databases(settings(tmp_path, ("*.db", "{stem}")))


@pytest.mark.parametrize("name", ["a", "A9", "0", "a.b_c-d", "a" * 63])
def test_a_name_may_be(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "_obelisk", "a/b", "a b", "a\n", "ä", "a" * 64, "..", "a$b", "a\0"]
)
def test_a_name_may_not_be(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a database"):
        check_name(name)


def test_databases_that_are_named_one_by_one(tmp_path: Path) -> None:
    touch(tmp_path, "runs/a.db")
    given = settings(tmp_path, ("runs/*.db", "{stem}"), ("orders.db", "shop"))

    assert named_databases(given) == {"shop": tmp_path / "orders.db"}


@pytest.mark.parametrize(
    ("path", "template", "name", "place"),
    [
        ("orders.db", "{stem}", "orders", "orders.db"),
        ("orders.db", "shop", "shop", "orders.db"),
        ("runs/*.db", "{stem}", "exp-1", "runs/exp-1.db"),
        ("runs/*", "{name}", "exp-1.db", "runs/exp-1.db"),
        ("runs/exp-?.db", "{stem}", "exp-1", "runs/exp-1.db"),
    ],
)
def test_a_name_has_a_place_before_there_is_a_file(
    path: str, template: str, name: str, place: str, tmp_path: Path
) -> None:
    given = settings(tmp_path, (path, template), ("others/x-*.sqlite", "{stem}"))

    assert path_of(given, name) == tmp_path / place


@pytest.mark.parametrize(
    ("entries", "name", "why"),
    [
        ([("orders.db", "{stem}")], "other", "no entry of databases has a place for 'other'"),
        ([("runs/exp-?.db", "{stem}")], "exp-10", "no entry"),
        ([("runs/**/*.db", "{stem}")], "a", "no entry"),
        ([("runs/*.db", "{parent}-{stem}")], "runs-a", "no entry"),
        ([("a/*.db", "{stem}"), ("b/*.db", "{stem}")], "x", "'x' has several places: "),
        ([("runs/*.db", "{stem}")], "../x", "cannot name a database"),
    ],
)
def test_a_name_without_one_place_is_refused(
    entries: list[tuple[str, str]], name: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=why):
        path_of(settings(tmp_path, *entries), name)


def test_what_cannot_be_told_apart_stops_none_of_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "b.db", "c.db", "x/d.db", "y/d.db", "-.db")
    (tmp_path / "a.db").symlink_to("b.db")
    known = {"b": tmp_path / "b.db", "d": tmp_path / "y/d.db"}

    found, wrong = find_databases(settings(tmp_path, ("**/*.db", "{stem}")), known)

    assert found == known | {"c": tmp_path / "c.db"}
    assert sorted(error.message.partition(":")[0] for error in wrong) == [
        f"{tmp_path}/-.db", "one database has two names", "two databases are named 'd'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/a.db", "a"),
        ("runs/.hidden.db", None),
        ("runs/a.db-wal", None),
        ("runs/deep/a.db", None),
        ("all/a.db", "x-all-a"),
        ("all/deep/er/a.db", "x-er-a"),
        ("all/.secret/a.db", None),
        ("one.db", "fixed"),
        ("two.db", None),
    ],
)
def test_what_a_file_is_called_before_it_is_there(
    tmp_path: Path, path: str, name: str | None
) -> None:
    made = settings(
        tmp_path,
        ("runs/*.db", "{stem}"), ("all/**/*.db", "x-{parent}-{stem}"), ("one.db", "fixed"),
    )  # fmt: skip

    assert name_of_path(made, tmp_path / path) == name
