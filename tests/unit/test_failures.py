"""Errors on disk and back: what `except` sees on replay is what it saw live."""

from __future__ import annotations

import sys
import types

import pytest

from obelisk_ops.core import events, failures, names
from obelisk_ops.errors import ActivityFailed, ActivityTimedOut, NotSerialisable


class Declined(Exception):
    pass


class WithCode(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"declined with {code}")
        self.code = code


class WithKeywords(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"declined with {code}")


class ShownOtherwise(Exception):
    def __str__(self) -> str:
        return f"shown: {self.args[0]}"


class Outer:
    class Nested(Declined):
        pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


def there_and_back(error: BaseException) -> BaseException:
    body = events.Returned(n=1, error=failures.record(error))
    row = events.Event(1, 0, "returned", events.encode(body))
    return failures.rebuild(events.decode(row).error)


@pytest.mark.parametrize(
    "error",
    [
        Declined("no money", 5),
        Declined(),
        Outer.Nested("inner"),
        ValueError("plain"),
        KeyError("missing"),
        FileNotFoundError(2, "No such file", "a.txt"),
        ShownOtherwise("x"),
        WithCode(7),
        WithKeywords(code=7),
        Declined({"a": (1, 2)}),
        ActivityTimedOut("took longer than 1 s"),
        NotSerialisable("a socket"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_its_own_class_with_its_text(error: Exception) -> None:
    again = there_and_back(error)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert isinstance(again.__cause__, ActivityFailed)


def test_arguments_come_back_where_json_has_a_form_for_them() -> None:
    assert there_and_back(Declined("no money", 5)).args == ("no money", 5)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), Unprintable()], ids=lambda e: type(e).__name__
)
def test_other_errors_come_back_as_a_failure_that_names_them(error: BaseException) -> None:
    again = there_and_back(error)

    assert isinstance(again, ActivityFailed | Unprintable)


def test_a_class_that_is_not_loaded_comes_back_as_a_failure_that_names_it() -> None:
    failure = events.Failure(type="shop.errors.Declined", message="no money")

    again = failures.rebuild(failure)

    assert isinstance(again, ActivityFailed)
    assert (again.error_type, again.message) == ("shop.errors.Declined", "no money")


def test_what_is_no_exception_is_never_made() -> None:
    for name in ("os.system", "builtins.print", "tests", "", ".", "a..b", "int", "os"):
        again = failures.rebuild(events.Failure(type=name, message="x"))

        assert isinstance(again, ActivityFailed)


def test_a_text_that_is_not_unicode_can_be_written() -> None:
    failure = failures.record(OSError("no such file: \udcff.txt"))

    assert failure.message == "no such file: \\udcff.txt"
    assert events.encode(events.Returned(n=1, error=failure))


@pytest.mark.behaviour("P09")
def test_an_error_that_cannot_be_shown_is_recorded_all_the_same() -> None:
    assert (
        failures.record(Unprintable()).message == "a Unprintable that cannot be shown as text"
    )


def test_a_traceback_is_kept_but_not_all_of_it() -> None:
    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
        raise ValueError("x" * 20_000)

    with pytest.raises(ValueError, match="x") as caught:
        deeper(3)

    failure = failures.record(caught.value)

    assert "deeper" not in failure.traceback
    assert len(failure.traceback) == 8000


def test_a_script_and_a_worker_know_its_classes_by_one_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = types.ModuleType("__main__")
    script.__file__ = "somewhere/shop.py"
    declined = type("Declined", (Exception,), {"__module__": "__main__"})
    script.Declined = declined  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", script)

    failure = failures.record(declined("no money"))

    assert failure.type == "shop.Declined"
    assert type(failures.rebuild(failure)) is declined

    worker = types.ModuleType("shop")
    worker.Declined = Declined  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    monkeypatch.setitem(sys.modules, "shop", worker)
    assert type(failures.rebuild(failure)) is Declined


def test_names_of_functions_and_classes() -> None:
    assert names.known_as(Outer.Nested) == f"{__name__}.Outer.Nested"
    assert names.find(f"{__name__}.Outer.Nested") is Outer.Nested
    assert names.find("KeyError") is KeyError
