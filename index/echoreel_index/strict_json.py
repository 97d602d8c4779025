"""Frozen dataclasses <-> JSON objects, strictly: a key nobody knows is an error that names its nearest neighbour.

The public EchoReel code shows why: its training file sets a key that the network does not know, `**kwargs` swallows it,
and a model without the method is trained.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from echoreel_index.errors import UsageError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """A dataclass (nested ones too) -> what `json.dumps` takes; tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    return value


def from_json(kind: type[T], data: object, *, what: str) -> T:
    """A JSON object -> the dataclass `kind`; `what` names the source in messages ("unet/config.json").

    Raises:
        UsageError: a key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{what}: expected a JSON object, got {type(data).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UsageError(f"{what}: unknown key {key!r}", hint=_nearest(str(key), list(fields)))
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{what}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{what}: key {name!r} is missing")
    return kind(**values)


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def _convert(hint: Any, value: Any, what: str) -> Any:
    """One JSON value -> the annotated type; only what configurations use: scalars, unions with None, tuples, dataclasses."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        if value is None and len(options) < len(get_args(hint)):
            return None
        return _first_that_fits(options, value, what)
    if origin is Literal:
        if value not in get_args(hint):
            raise UsageError(f"{what}: {value!r} is none of {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple:
        return _convert_tuple(get_args(hint), value, what)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, what=what)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        raise UsageError(f"{what}: expected {hint.__name__}, got {value!r}")
    return value


def _first_that_fits(options: list[Any], value: Any, what: str) -> Any:
    for option in options[:-1]:
        try:
            return _convert(option, value, what)
        except UsageError:
            continue
    return _convert(options[-1], value, what)


def _convert_tuple(items: tuple[Any, ...], value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UsageError(f"{what}: expected a list, got {value!r}")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_convert(items[0], item, what) for item in value)
    if len(items) != len(value):
        raise UsageError(f"{what}: expected {len(items)} values, got {len(value)}")
    return tuple(_convert(item_hint, item, what) for item_hint, item in zip(items, value, strict=True))
