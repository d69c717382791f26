"""
Which code a workflow is, in a few letters.

The digest is taken of what the interpreter runs, not of a file that may have been edited
since: the instructions with their names and constants. Line numbers, comments, docstrings
and annotations do not count. Instructions differ between minor versions of Python, so a
digest is to be compared within one.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable, Iterator, Sequence
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from obelisk_ops.core import events
from obelisk_ops.core.events import Event

_LETTERS = 16
_FUNCTIONS_MAX = 200  # a workflow names a few; behind those may stand a whole program
#: set up frames and caches, or carry what argval repeats
_NOISE = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "RESUME"})


def digest(function: Callable[..., Any]) -> str:
    """
    Return the digest of a function, and of the plain functions that it names.

    Those are helpers of the same top-level package, nested functions, and what it has
    from around it. Activities and other workflows are not part of it: they are known by
    their names.
    """
    text = hashlib.sha256()
    for part in _parts(function):
        text.update(part.encode("utf-8", "backslashreplace") + b"\n")
    return text.hexdigest()[:_LETTERS]


def digest_on_record(created: events.Created, log: Sequence[Event]) -> str:
    """Return the digest of the code that an execution ran last; empty when not known."""
    upgrades = (event for event in reversed(log) if event.kind == "upgraded")
    found = next(upgrades, None)
    return str(events.decode(found).digest) if found else created.digest


def _parts(function: Callable[..., Any]) -> Iterator[str]:
    todo: list[Any] = [function]
    seen = set[int]()
    while todo and len(seen) < _FUNCTIONS_MAX:
        one = todo.pop(0)
        code = getattr(one, "__code__", None)
        if id(one) in seen or not isinstance(code, CodeType):
            continue
        seen.add(id(one))
        yield f"def {getattr(one, '__qualname__', '')}"
        yield _constant(getattr(one, "__defaults__", None))
        yield _constant(getattr(one, "__kwdefaults__", None))
        yield from _code(code)
        todo += [found for found in _named(one, code) if _is_near(found, one)]


def _code(code: CodeType) -> Iterator[str]:
    flags = code.co_flags & ~_ANNOTATIONS
    yield f"code {code.co_name} {code.co_argcount} {code.co_kwonlyargcount} {flags}"
    yield " ".join((*code.co_varnames[: _parameters(code)], *code.co_freevars))
    nested = []
    for one in dis.get_instructions(code):
        if one.opname in _NOISE:
            continue
        if isinstance(one.argval, CodeType):
            nested.append(one.argval)
            yield f"{one.opname} code {one.argval.co_name}"
        elif one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            yield f"{one.opname} {one.argval - one.offset}"
        else:
            yield f"{one.opname} {_constant(one.argval)}"
    for inner in nested:
        yield from _code(inner)


#: what `from __future__ import annotations` and a docstring leave in the flags
_ANNOTATIONS = 0x1000000 | 0x4000000


def _parameters(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount


def _constant(value: object) -> str:
    """Write a constant so that it is the same in every process."""
    match value:
        case frozenset() | set():
            return "{" + ",".join(sorted(_constant(item) for item in value)) + "}"
        case tuple() | list():
            return "(" + ",".join(_constant(item) for item in value) + ")"
        case dict():
            pairs = (f"{_constant(k)}:{_constant(v)}" for k, v in value.items())
            return "{" + ",".join(pairs) + "}"
        case None | bool() | int() | float() | complex() | str() | bytes():
            return f"{type(value).__name__} {value!r}"
        case _:  # its text may hold an address
            return type(value).__qualname__


def _named(function: Callable[..., Any], code: CodeType) -> Iterator[object]:
    """Find what the code names: around it, in its module, and as ``module.name``."""
    cells = getattr(function, "__closure__", None) or ()
    yield from (cell.cell_contents for cell in cells if is_full(cell))
    names = sorted(set(names_in(code)))
    known: dict[str, object] = getattr(function, "__globals__", {})
    for name in names:
        value = known.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value).get(inner) for inner in names)


def _is_near(found: object, function: Callable[..., Any]) -> bool:
    """Tell whether it is a plain function of the same top-level package."""
    if not isinstance(found, FunctionType):
        return False
    return _package(found) == _package(function)


def _package(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__module__", None) or "").partition(".")[0]


def names_in(code: CodeType) -> Iterator[str]:
    """Yield the global names and attributes that a code uses, inside nested code too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a comprehension, or a function inside
            yield from names_in(constant)


def is_full(cell: CellType) -> bool:
    """Tell whether the variable of a closure has a value yet."""
    try:
        cell.cell_contents  # noqa: B018 - it raises when the name has no value yet
    except ValueError:
        return False
    return True
