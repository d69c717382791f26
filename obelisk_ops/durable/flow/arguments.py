"""Arguments of a workflow as they come from a command line: one JSON text each."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from obelisk_ops.durable.flow.functions import Workflow
from obelisk_ops.errors import InvalidInput


def read_json_input(function: Workflow[Any, Any], values: list[str]) -> bytes:
    """
    Return the input for JSON texts, one for each parameter.

    Raises:
        InvalidInput: One is no JSON, or they do not fit the signature.
    """
    parts = []
    for position, value in enumerate(values, start=1):
        try:
            parts.append(msgspec.json.decode(value.encode(), type=Raw))
            msgspec.json.decode(value.encode())
        except msgspec.DecodeError as error:
            raise InvalidInput(
                f"argument {position} is no JSON: {value[:200]!r} ({error})",
                hint="""a text needs its own quotes, as in '"tea"'""",
            ) from error
    return function.codec.fill_input(parts)
