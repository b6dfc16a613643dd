"""The base of every model here: frozen, closed, and read from outside with our own errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from greenschemas.errors import ConfigError, GreenError, nearest

__all__ = ["Frozen", "digest"]


class Frozen(BaseModel):
    """A value: cannot be changed, takes no key it does not know and no NaN or infinity, and cannot be born invalid."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, where: object, data: object, error: type[GreenError] = ConfigError) -> Self:
        """`data` as a model; raises `error` naming the key, what was found and the nearest known key.

        where: file or option that `data` came from, for the message.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as problem:
            raise error(where, *_in_words(cls, problem)) from None

    def to_json(self) -> str:
        """One line, keys in the order of the fields: the same value gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)


def digest(value: object) -> str:
    """SHA-256 (hex, 16 places) of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _in_words(cls: type[BaseModel], problem: ValidationError) -> tuple[str, str]:
    """(what was found, how to mend it) for the first thing that pydantic complains about."""
    first = problem.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or cls.__name__
    if first["type"] == "extra_forbidden":
        known = _fields_at(cls, first["loc"][:-1])
        return f"unknown key `{place}`", nearest(str(first["loc"][-1]), known)
    if first["type"] == "missing":
        return f"`{place}` is missing", "add it"
    value = _shown(first.get("input"))
    message = first["msg"].removeprefix("Value error, ")
    return f"`{place}` is {value}", f"it must hold that: {message[:1].lower()}{message[1:]}"


def _fields_at(cls: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """Names of the fields of the model that stands at `loc` inside `cls`."""
    here: set[type[BaseModel]] = {cls}
    for part in loc:
        if isinstance(part, int):
            continue
        inner = {m for c in here if part in c.model_fields for m in _models_in(c.model_fields[part].annotation)}
        here = inner or here
    return {name for c in here for name in c.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
