"""The base of every model here: frozen, closed, and read from outside with our own errors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from greenschemas.errors import ConfigError, GreenError, nearest

__all__ = ["Frozen", "digest"]

_LIMITS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("not below", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("not above", "le"),
}
"""Of pydantic's kinds of error: (words, the key of the limit)."""
_WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number that is finite",
    "string": "a text",
    "invalid_key": "texts as keys",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys and values",
    "mapping": "keys and values",
    "model": "keys and values",
}
"""By how pydantic's kind of error begins."""
_KINDS = ("str", "int", "float")


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
    """(what was found, how to mend it) for the first thing that pydantic complains about, in none of its words."""
    errors = problem.errors(include_url=False)
    first, place = errors[0], _place(errors[0]["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(cls, first["loc"][:-1])
        return f"unknown key `{place}`", nearest(str(first["loc"][-1]), known)
    if first["type"] == "missing":
        return f"`{place}` is missing", "add it"
    found = f"`{place or cls.__name__}` is {_shown(first.get('input'))}"
    if first["type"] == "value_error":  # a validator of ours
        message = first["msg"].removeprefix("Value error, ")
        return found, f"it must hold that: {message[:1].lower()}{message[1:]}"
    # Where a key may hold one of several kinds, each of them complains.
    wanted = dict.fromkeys(_wanted(one) for one in errors if _place(one["loc"]) == place)
    return found, f"give {' or '.join(wanted)}"


def _place(loc: tuple[int | str, ...]) -> str:
    """The key with its dots; what pydantic puts between, such as the kind it tried, is no name."""
    return ".".join(str(part) for part in loc if re.fullmatch(r"[\w-]+", str(part)) and part not in _KINDS)


def _wanted(error: Mapping[str, Any]) -> str:
    """What should stand there, as it follows on `give`."""
    kind, limits = error["type"], error.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return str(limits["expected"])
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return f"a number {words} {limits[key]:g}"
    if kind == "too_short":
        return f"a list of {limits['min_length']} or more"
    what = next((words for start, words in _WANTED.items() if kind.startswith(start)), None)
    return what or f"something else: {error['msg'].lower()}"


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
