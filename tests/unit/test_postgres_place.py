"""URLs of PostgreSQL databases: what libpq is given, and what people are shown."""

from __future__ import annotations

import sys

import psycopg
import pytest

from obelisk_ops import errors
from obelisk_ops.storage import postgres
from obelisk_ops.storage.postgres import place
from obelisk_ops.storage.postgres.errors import translate


@pytest.mark.parametrize(
    ("url", "given", "schema", "label"),
    [
        ("postgresql://h/d", "postgresql://h/d", "obelisk_ops", "postgresql://h/d"),
        ("postgres://u:s3cret@h:5433/d", "postgres://u:s3cret@h:5433/d", "obelisk_ops",
         "postgresql://u@h:5433/d"),
        ("postgresql://u:s%40cret@h/d?sslmode=require&schema=lab",
         "postgresql://u:s%40cret@h/d?sslmode=require",
         "lab", "postgresql://u@h/d?sslmode=require&schema=lab"),
        ("postgresql:///d?host=/run/pg&password=s3cret", "postgresql:///d?host=/run/pg&password=s3cret",
         "obelisk_ops", "postgresql:///d?host=/run/pg"),
        ("postgresql://h/d?pooler=transaction&sslmode=require",
         "postgresql://h/d?sslmode=require", "obelisk_ops",
         "postgresql://h/d?pooler=transaction&sslmode=require"),
        ("postgresql://h/d?passwrd=s3cret", "postgresql://h/d?passwrd=s3cret", "obelisk_ops",
         "postgresql://h/d"),
        ("postgresql://u:s3cret@a:1,b:2/d", "postgresql://u:s3cret@a:1,b:2/d", "obelisk_ops",
         "postgresql://u@a:1,b:2/d"),
    ],
)  # fmt: skip
def test_a_url_is_understood_and_shown_without_its_secrets(
    url: str, given: str, schema: str, label: str
) -> None:
    found = place.read(url)

    assert (found.url, found.schema, found.label) == (given, schema, label)
    assert "cret" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d", "postgresql://h/d?schema=Lab", "postgresql://h/d?schema=pg_x",
        "postgresql://h/d?schema=", 'postgresql://h/d?schema=a";DROP', "postgresql://[h:s3cret/d",
        "postgresql://u:a/s3cret@h/d", "postgresql://u:s3cret?a@h/d", "postgresql://u:s3cret#a@h/d",
        "postgresql://u:s3cret@b/c@h/d",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        place.read(url)

    assert refused.value.hint
    assert "s3cret" not in str(refused.value)


def test_schemas_have_locks_of_their_own() -> None:
    one, other = (
        place.read("postgresql://h/d?schema=a"),
        place.read("postgresql://h/d?schema=b"),
    )

    keys = {at.lock_key(purpose) for at in (one, other) for purpose in ("owner", "making")}

    assert len(keys) == 4
    assert all(-(1 << 63) <= key < 1 << 63 for key in keys)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("23505", errors.VersionConflict), ("23502", errors.StorageUnavailable),
        ("28P01", errors.CredentialsError), ("42501", errors.CredentialsError),
        ("3D000", errors.DatabaseNotFound), ("42P01", errors.ConfigError),
        ("25006", errors.StorageUnavailable), ("53100", errors.StorageUnavailable),
        ("53300", errors.StorageUnavailable), ("55P03", errors.StorageUnavailable),
        ("57P01", errors.StorageUnavailable), ("40001", errors.StorageUnavailable),
        ("XX001", errors.CorruptDatabase), ("XX002", errors.CorruptDatabase),
    ],
)  # fmt: skip
def test_errors_are_told_by_their_code(state: str, expected: type[errors.OpsError]) -> None:
    told = translate(psycopg.errors.lookup(state)("never read"), "postgresql://h/d")

    assert type(told) is expected
    assert "postgresql://h/d" in told.message


def test_without_the_driver_one_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [*sys.modules]:
        if name.startswith("obelisk_ops.storage.postgres.") and not name.endswith("place"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(errors.ProgramMissing, match="PostgreSQL") as refused:
        postgres.open_store(place.read("postgresql://h/d"))

    assert "obelisk-ops[postgres]" in str(refused.value.hint)


def test_what_was_typed_is_found_again_by_what_is_shown() -> None:
    shown = place.conceal("postgresql://u:s3cret@h/d?schema=hidden&password=s3cret")

    assert shown == str(place.read(shown)) == "postgresql://u@h/d?schema=hidden"
    assert place.read(shown).url == "postgresql://u:s3cret@h/d?password=s3cret"


@pytest.mark.parametrize("given", ["", "transaction", "session"])
def test_what_is_between_may_be_said(given: str) -> None:
    assert place.read(f"postgresql://h/d?pooler={given}").pooler == given
    assert place.read("postgresql://h/d").pooler == ""


def test_what_is_between_is_nothing_else() -> None:
    with pytest.raises(errors.ConfigError, match="'statement' is no kind of pooler"):
        place.read("postgresql://h/d?pooler=statement")
