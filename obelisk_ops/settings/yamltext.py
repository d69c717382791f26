"""
YAML without its traps: duplicate keys, aliases, surprises of size and depth.

PyYAML keeps the last of two equal keys without a word, and lets a few lines of
aliases grow into gigabytes; a configuration needs neither.
"""

from __future__ import annotations

from typing import Any

import yaml

_INDENT = "indent with spaces; YAML has no tabs"
_LOOK = "look at the indentation, the quotes and the brackets there and just before"


class Malformed(Exception):
    """The text is not YAML that is accepted; the message names the line."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def load(text: str) -> object:
    """
    Return the plain values of one YAML document.

    Raises:
        Malformed: It is no such document.
    """
    try:
        return yaml.load(text, _Strict)  # noqa: S506 — a subclass of SafeLoader
    except yaml.MarkedYAMLError as wrong:
        # Only the problem is repeated, never the line: a line may hold a secret.
        raise Malformed(
            f"{_line(wrong.problem_mark)}not valid YAML ({wrong.problem})",
            hint=_INDENT if "\\t" in str(wrong.problem) else _LOOK,
        ) from None
    except yaml.YAMLError:
        raise Malformed("not valid YAML (a character that is not allowed)") from None
    except RecursionError:
        raise Malformed("not valid YAML (nested too deeply)") from None
    except (ValueError, OverflowError):  # from the constructors of dates and numbers
        raise Malformed("a date or number that does not exist; put it in quotes") from None


class _Strict(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        if self.check_event(yaml.AliasEvent):
            line = _line(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
            raise Malformed(f"{line}aliases are not accepted", hint="write the value again")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 — PyYAML's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise Malformed(f"{_line(key_node.start_mark)}a key must be a text")
            if key in seen:
                raise Malformed(
                    f"{_line(key_node.start_mark)}duplicate key '{key}'",
                    hint="keep one of them",
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _line(mark: yaml.Mark | None) -> str:
    return f"line {mark.line + 1}: " if mark else ""
