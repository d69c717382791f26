"""Values as JSON by annotation: what code sees live is what it sees on replay."""

from __future__ import annotations

import enum
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic
import pytest

from obelisk_ops.core.values import Codec, to_json
from obelisk_ops.errors import InvalidInput, NotSerialisable, WorkflowMisuse

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5


class Receipt(msgspec.Struct):
    id: str
    at: datetime


class Order(pydantic.BaseModel):
    id: int
    items: list[str] = []


class Colour(enum.Enum):
    RED = "red"


def codec_for(annotation: Any) -> Codec:
    def function(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return value

    function.__annotations__ = {"value": annotation, "return": annotation}
    return Codec(function, "m.f")


ROUND_TRIPS = [
    (Point, Point(1)),
    (list[Point], [Point(1), Point(2, -0.0)]),
    (Receipt, Receipt("r", datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))),
    (Order, Order(id=1, items=["a"])),
    (list[Order], [Order(id=1)]),
    (Colour, Colour.RED),
    (dict[Colour, int], {Colour.RED: 1}),
    (datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    (date, date(2026, 1, 2)),
    (timedelta, timedelta(days=2, milliseconds=3)),
    (uuid.UUID, uuid.UUID(int=7)),
    (Decimal, Decimal("1.10")),
    (bytes, b"\x00\xff"),
    (type(None), None),
    (int | None, None),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2, 3)),
    (set[int], {1, 2}),
    (dict[int, str], {1: "one"}),
    (str, "日本語 \u0000 🎈"),
    (str, "x" * 1_000_000),
    (int, 2**200),
    (float, 5e-324),
    (list[Any], [None, True, 1, 1.5, "a", {"b": []}]),
    (Any, {"a": [1]}),
]


@pytest.mark.parametrize(
    ("annotation", "value"), ROUND_TRIPS, ids=[f"{a}"[:40] for a, _ in ROUND_TRIPS]
)
@pytest.mark.behaviour("P07")
def test_values_come_back_as_they_were(annotation: Any, value: object) -> None:
    codec = codec_for(annotation)

    result = codec.decode_result(codec.encode_result(value))
    [argument], _ = codec.decode_input(codec.encode_input([value], {}))

    assert (result, type(result)) == (value, type(value))
    assert (argument, type(argument)) == (value, type(value))


def test_without_an_annotation_a_value_is_plain_json() -> None:
    codec = Codec(lambda value: value, "m.f")

    [seen], _ = codec.decode_input(codec.encode_input([(1, Point(2))], {}))

    assert seen == [1, {"x": 2, "y": 0.5}]


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, [1, math.nan], {"a": {"b": math.inf}},
        (math.nan, "null"),
        Point(1, math.nan), object(), lambda: 1, open, "\udcff", {1j: 2},
    ],
    ids=lambda value: repr(value)[:20].encode("ascii", "replace").decode(),
)  # fmt: skip
def test_what_json_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(NotSerialisable):
        to_json(value)


def test_null_itself_and_the_word_are_fine() -> None:
    assert to_json([None, "null", 1.0]) == b'[null,"null",1.0]'


def test_a_result_must_fit_its_annotation() -> None:
    with pytest.raises(NotSerialisable, match=r"the result of m\.f does not fit"):
        codec_for(int).encode_result("text")
    with pytest.raises(NotSerialisable, match=r"m\.f returned what cannot be stored"):
        codec_for(Any).encode_result(object())


def signature(a: int, b: str = "tea", *, c: float = 1.0, d: list[int] | None = None) -> None:
    """Take what the tables below give."""


GIVEN = [
    ((1,), {}, [1, "tea"], {"c": 1.0, "d": None}),
    ((1, "x"), {}, [1, "x"], {"c": 1.0, "d": None}),
    ((), {"b": "y", "a": 2}, [2, "y"], {"c": 1.0, "d": None}),
    ((1,), {"d": [3], "c": 2}, [1, "tea"], {"c": 2.0, "d": [3]}),
]


@pytest.mark.parametrize(("args", "kwargs", "positional", "named"), GIVEN)
def test_defaults_and_keywords_are_stored_in_order(
    args: tuple[Any, ...], kwargs: dict[str, Any], positional: list[Any], named: dict[str, Any]
) -> None:
    codec = Codec(signature, "m.f")

    assert codec.decode_input(codec.encode_input(args, kwargs)) == (tuple(positional), named)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, "a", 2.0), {}), ((1,), {"z": 1}), ((1,), {"a": 1})],
)
def test_arguments_that_do_not_fit_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=r"m\.f\("):
        Codec(signature, "m.f").encode_input(args, kwargs)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "[1]", "[1", "1",
        '["a","b",1.0,null]', '[1,"b",1.0,null,5]', '[1,"b",NaN,null]',
    ],
)  # fmt: skip
def test_json_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"input does not fit m\.f\(a: "):
        Codec(signature, "m.f").decode_input(text)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ([b"1"], b'[1,"tea",1.0,null]'),
        ([b"1", b'"x"', b"2", b"[1]"], b'[1,"x",2.0,[1]]'),
    ],
)
def test_values_given_in_order_are_filled_up(given: list[bytes], stored: bytes) -> None:
    codec = Codec(signature, "m.f")

    assert codec.fill_input([msgspec.Raw(text) for text in given]) == stored


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "missing a required argument"),
        ([b"1"] * 5, "takes 4 values, 5 given"),
        ([b'"one"'], "Expected `int`, got `str`"),
        ([b"1", b"2"], "Expected `str`, got `int`"),
    ],
)
def test_values_given_in_order_must_fit(given: list[bytes], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Codec(signature, "m.f").fill_input([msgspec.Raw(text) for text in given])


def test_a_pydantic_model_checks_what_it_reads() -> None:
    with pytest.raises(InvalidInput, match="input does not fit"):
        codec_for(Order).decode_input('[{"id":"not a number"}]')


def takes_any_number(*values: int) -> None: ...
def takes_any_name(**values: int) -> None: ...
def only_for_checkers(value: Fraction) -> None: ...
def cannot_tell_apart(value: Point | Receipt) -> None: ...
def has_no_json(value: memoryview | complex) -> None: ...


@pytest.mark.parametrize("function", [takes_any_number, takes_any_name])
def test_parameters_without_a_number_are_refused(function: Callable[..., None]) -> None:
    with pytest.raises(WorkflowMisuse, match=r"\*args or \*\*kwargs"):
        Codec(function, "m.f")


@pytest.mark.parametrize("function", [only_for_checkers, cannot_tell_apart])
def test_annotations_that_nobody_can_read_by_are_named(function: Callable[..., None]) -> None:
    with pytest.raises(WorkflowMisuse, match=r"an annotation of m\.f") as caught:
        Codec(function, "m.f").decode_input("[1]")

    assert caught.value.hint


def test_a_type_json_has_no_form_for_is_named_when_it_is_read() -> None:
    with pytest.raises((WorkflowMisuse, InvalidInput), match=r"m\.f"):
        Codec(has_no_json, "m.f").decode_input("[1]")
