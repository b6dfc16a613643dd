"""Values as bytes for the scratch folder of a build: JSON with the arrays behind it, no code in it (unlike pickle)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np

from greenschemas.frozen import Frozen

__all__ = ["pack", "unpack"]


def pack(value: object) -> bytes:
    """Bytes of a value made of dataclasses, models, enums, arrays, containers, bytes and JSON's own types."""
    blobs: list[bytes] = []
    tree = json.dumps(_down(value, blobs), separators=(",", ":")).encode()
    return b"".join([len(tree).to_bytes(8, "little"), tree, *blobs])


def unpack(data: bytes, types: tuple[type, ...]) -> Any:
    """The value that `pack` was given; `types` are the classes that may stand in it, by name.

    Raises ValueError or KeyError where `data` is not whole or names another class.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 + size:
        raise ValueError("cut short")
    return _up(json.loads(data[8 : 8 + size]), memoryview(data)[8 + size :], {kind.__name__: kind for kind in types})


def _down(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, np.ndarray):
        blobs.append(np.ascontiguousarray(value).tobytes())
        return {"array": [value.dtype.str, list(value.shape), len(blobs[-1])]}
    if isinstance(value, Enum):
        return {"enum": [type(value).__name__, value.value]}
    if isinstance(value, Frozen):
        return {"model": [type(value).__name__, value.model_dump(mode="json")]}
    if dataclasses.is_dataclass(value):
        fields = {field.name: _down(getattr(value, field.name), blobs) for field in dataclasses.fields(value)}
        return {"data": [type(value).__name__, fields]}
    if isinstance(value, tuple | list | frozenset | dict):
        return _held(value, blobs)
    if isinstance(value, bytes):
        blobs.append(value)
        return {"bytes": len(value)}
    return value.item() if isinstance(value, np.generic) else value


def _held(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, dict):
        return {"dict": [[_down(k, blobs), _down(v, blobs)] for k, v in value.items()]}
    items = [_down(item, blobs) for item in value]
    return items if isinstance(value, list) else {"tuple" if isinstance(value, tuple) else "set": items}


def _up(tree: Any, rest: memoryview, types: dict[str, Any]) -> Any:
    at = 0

    def take(size: int) -> memoryview:
        nonlocal at
        at += size
        return rest[at - size : at]

    def array(dtype: str, shape: list[int], size: int) -> Any:
        return np.frombuffer(take(size), dtype).reshape(shape)

    def up(node: Any) -> Any:
        if isinstance(node, list):
            return [up(item) for item in node]
        if not isinstance(node, dict):
            return node
        ((kind, inside),) = node.items()
        return makers[kind](inside)

    makers: dict[str, Callable[[Any], Any]] = {
        "array": lambda inside: array(*inside),
        "bytes": lambda inside: bytes(take(inside)),
        "enum": lambda inside: types[inside[0]](inside[1]),
        "model": lambda inside: types[inside[0]].model_validate(inside[1]),
        "data": lambda inside: types[inside[0]](**{name: up(item) for name, item in inside[1].items()}),
        "dict": lambda inside: {up(k): up(v) for k, v in inside},
        "tuple": lambda inside: tuple(up(item) for item in inside),
        "set": lambda inside: frozenset(up(item) for item in inside),
    }
    return up(tree)
