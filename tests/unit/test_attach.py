"""The same request attaches; another one is refused, and told why."""

from __future__ import annotations

import pytest
from msgspec import Raw

from obelisk_ops.core import events
from obelisk_ops.core.attach import refuse_other_input
from obelisk_ops.errors import ExecutionExists


def created(function: str, given: str) -> str:
    return events.encode(events.Created(fn=function, input=Raw(given.encode())))


@pytest.mark.parametrize(
    "given", ['[{"a":1,"b":2}]', '[ {"b": 2, "a": 1} ]', '[{"b":2.0,"a":1}]']
)
def test_the_same_input_in_other_letters_attaches(given: str) -> None:
    refuse_other_input("e", created("m.f", '[{"a":1,"b":2}]'), created("m.f", given))


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        ("m.g", "[1]", "execution 'e' exists and runs m.f, not m.g"),
        ("m.f", "[2]", r"execution 'e' exists and has the input \[1\], not \[2\]"),
        ("m.f", '["' + "x" * 500 + '"]', r"not \[\"x{118}…"),
    ],
)
def test_another_request_is_refused(function: str, given: str, said: str) -> None:
    with pytest.raises(ExecutionExists, match=said):
        refuse_other_input("e", created("m.f", "[1]"), created(function, given))
