"""
Values as JSON, by annotation.

A function's arguments are one JSON array in the order of its parameters, its
result one JSON value. What code sees is always the *decoded* value, live as on
replay, so nothing changes its type only after a crash.

Dataclasses, msgspec structs, enums, dates, UUIDs and the like are msgspec's
business; pydantic models are accepted where pydantic is installed.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from obelisk_ops.core.words import counted
from obelisk_ops.errors import InvalidInput, NotSerialisable, WorkflowMisuse

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _enc_hook(value: object) -> object:
    if isinstance(value, msgspec.Raw):
        return None  # JSON already, and in JSON there is no NaN to look for
    if isinstance(value, str):
        return str(value)  # of a class of its own
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise NotSerialisable(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON",
        hint="return plain values, dataclasses, msgspec structs or pydantic models",
    )


def _dec_hook(wanted: type, value: object) -> object:
    validate = getattr(wanted, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise NotSerialisable(
        f"a {wanted.__module__}.{wanted.__qualname__} cannot be read from JSON",
        hint="annotate with plain types, dataclasses, msgspec structs or pydantic models",
    )


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def to_json(value: object) -> bytes:
    """
    Write any value as JSON.

    Raises:
        NotSerialisable: JSON has no form for it.
    """
    try:
        text = _encoder.encode(value)
    except NotSerialisable:
        raise
    except Exception as error:
        raise NotSerialisable(f"{type(value).__name__} as JSON: {error}") from error
    if text.find(b"null") >= 0:  # "in" tries first whether that is a number
        _refuse_nan(value)
    return text


def from_json(text: bytes | str, wanted: Any, what: str) -> Any:  # noqa: ANN401 - of that type
    """
    Read one value as the type *wanted*; by one thread at a time (see Codec).

    Raises:
        NotSerialisable: It is something else.
    """
    try:
        return msgspec.json.decode(text, type=wanted, dec_hook=_dec_hook)
    except Exception as error:  # classes of the user's have code of their own
        raise NotSerialisable(f"{what} cannot be read as {wanted}: {error}") from error


def _refuse_nan(value: object) -> None:
    # JSON has no NaN and the encoder writes null: the value would change in silence.
    plain = msgspec.to_builtins(value, enc_hook=_enc_hook)
    todo: list[object] = [plain]
    while todo:
        item = todo.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise NotSerialisable(f"{item} cannot be written as JSON", hint="use None instead")
        if isinstance(item, Mapping):
            todo.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset):
            todo.extend(item)


class Codec:
    """How one function's arguments and result are written and read."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self._name = name
        self._signature = inspect.signature(function)
        self._parameters = list(self._signature.parameters.values())
        if any(p.kind in _VARIADIC for p in self._parameters):
            raise WorkflowMisuse(
                f"{name} takes *args or **kwargs, which have no types to read JSON by",
                hint="name every parameter",
            )
        # All at once, and by the caller's thread: msgspec learns a type at its first use,
        # and two threads that use it first at the same time can crash the process.
        self._hints = self._resolve_hints()
        self._input_decoder = self._decoder(self._input_type())
        self._result_decoder = self._decoder(self._hints.get("return", Any))
        self._keywords = [
            p.name for p in self._parameters if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        self._positional = len(self._parameters) - len(self._keywords)
        #: how many arguments a call has that need not be bound; none has as many as -1
        self._plain = -1 if self._keywords else self._positional

    def encode_input(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
        """
        Write the arguments of a call, defaults included.

        Raises:
            InvalidInput: They do not fit the signature.
            NotSerialisable: JSON has no form for one of them.
        """
        if kwargs or len(args) != self._plain:
            args = self._bind(args, kwargs)
        return to_json(args)

    def decode_input(self, text: bytes | str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """
        Read arguments, as positional and keyword ones.

        Raises:
            InvalidInput: The text is no JSON array that fits the signature.
        """
        try:
            values = self._input_decoder.decode(text)
        except Exception as error:  # classes of the user's have code of their own
            raise InvalidInput(
                f"input does not fit {self._name}{self._signature}: {error}",
                hint="give one JSON value for each parameter, in this order",
            ) from error
        if not self._keywords:
            return values, {}
        positional = values[: self._positional]
        return positional, dict(zip(self._keywords, values[self._positional :], strict=True))

    def fill_input(self, values: Sequence[msgspec.Raw]) -> bytes:
        """
        Write the input from JSON values given in the order of the parameters.

        Raises:
            InvalidInput: Too few or too many, or one does not fit.
        """
        keywords = dict(zip(self._keywords, values[self._positional :], strict=False))
        if len(values) > len(self._parameters):
            self._misfit(
                f"takes {counted(len(self._parameters), 'value')}, {len(values)} given"
            )
        text = to_json(self._bind(values[: self._positional], keywords))
        args, kwargs = self.decode_input(text)
        return self.encode_input(args, kwargs)

    def encode_result(self, value: object) -> bytes:
        """See ``read_back``; return only what is written."""
        return self.read_back(value)[0]

    def read_back(self, value: object) -> tuple[bytes, Any]:
        """
        Write a result; return that, and what is read of it.

        Raises:
            NotSerialisable: JSON has no form for it, or it does not fit the annotation.
        """
        try:
            text = to_json(value)
        except NotSerialisable as error:
            raise NotSerialisable(
                f"{self._name} returned what cannot be stored: {error.message}", hint=error.hint
            ) from error
        return text, self.decode_result(text)

    def decode_result(self, text: bytes | str) -> Any:  # noqa: ANN401
        """
        Read a result.

        Raises:
            NotSerialisable: It does not fit the annotation.
        """
        try:
            return self._result_decoder.decode(text)
        except Exception as error:  # classes of the user's have code of their own
            raise NotSerialisable(
                f"the result of {self._name} does not fit its annotation: {error}"
            ) from error

    def _bind(self, args: Sequence[object], kwargs: Mapping[str, object]) -> list[object]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            self._misfit(str(error))
        bound.apply_defaults()
        return list(bound.arguments.values())

    def _misfit(self, why: str) -> typing.NoReturn:
        raise InvalidInput(
            f"{self._name}{self._signature}: {why}",
            hint="give one value for each parameter without a default, in their order",
        )

    def _resolve_hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._function, include_extras=True)
        except Exception as error:
            raise WorkflowMisuse(
                f"an annotation of {self._name} cannot be resolved: {error}",
                hint="the types of workflows and activities must be importable at run time, "
                "not only under TYPE_CHECKING",
            ) from error

    def _input_type(self) -> Any:  # noqa: ANN401
        types = tuple(self._hints.get(p.name, Any) for p in self._parameters)
        return tuple[types] if types else tuple[()]  # type: ignore[valid-type]

    def _decoder(self, wanted: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401
        try:
            return msgspec.json.Decoder(wanted, dec_hook=_dec_hook)
        except TypeError as error:
            raise WorkflowMisuse(
                f"an annotation of {self._name} cannot be read from JSON: {error}",
                hint="in a union, use classes that JSON can tell apart: tagged msgspec structs",
            ) from error


def _spelled(wanted: object) -> str:
    return wanted.__name__ if isinstance(wanted, type) else str(wanted).removeprefix("typing.")


class Shape:
    """How one value that comes from outside is read."""

    def __init__(self, wanted: Any, name: str) -> None:  # noqa: ANN401 - a type
        """
        Learn a type.

        Raises:
            WorkflowMisuse: It cannot be read from JSON.
        """
        self._name = f"{name}, which is {_spelled(wanted)}"
        try:
            self._decoder = msgspec.json.Decoder(wanted, dec_hook=_dec_hook)
        except TypeError as error:
            raise WorkflowMisuse(
                f"the type of {name} cannot be read from JSON: {error}"
            ) from error

    def encode(self, value: object) -> bytes:
        """
        Write a value.

        Raises:
            InvalidInput: It does not fit the type.
            NotSerialisable: JSON has no form for it.
        """
        text = to_json(value)
        self.decode(text)
        return text

    def decode(self, text: bytes | str) -> Any:  # noqa: ANN401 - of the type
        """
        Read a value.

        Raises:
            InvalidInput: It does not fit the type.
        """
        try:
            return self._decoder.decode(text)
        except Exception as error:  # classes of the user's have code of their own
            raise InvalidInput(f"a value does not fit {self._name}: {error}") from error
