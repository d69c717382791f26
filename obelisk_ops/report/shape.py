"""The model of a report in the form that scripts read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from obelisk_ops.core.clock import iso

_FARTHEST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)


def shape(part: object) -> Any:  # noqa: ANN401 - JSON
    """Return a part of the model as JSON's values; moments in the form of ``moment``."""
    if is_dataclass(part) and not isinstance(part, type):
        return {one.name: _field(one.name, getattr(part, one.name)) for one in fields(part)}
    if isinstance(part, tuple | list):
        return [shape(one) for one in part]
    if isinstance(part, Mapping):
        return {str(name): shape(one) for name, one in part.items()}
    return part


def _field(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    is_moment = name == "at" or name.endswith("_at")
    return moment(value) if is_moment and isinstance(value, int) else shape(value)


def moment(at_ms: int) -> str:
    """Write a moment as ISO 8601; as a number if a database holds one that there is not."""
    return iso(at_ms) if 0 <= at_ms < _FARTHEST_MS else f"{at_ms} ms"
