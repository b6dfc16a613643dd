"""Settings that a user writes, read from YAML, and models written as YAML with comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel

from greenschemas.errors import GreenError

__all__ = ["commented_yaml", "read_settings"]

WIDTH = 110


def read_settings(path: Path, error: type[GreenError], examples: str) -> dict[str, object]:
    """Keys and values of a YAML file; none where it is empty.

    examples: where a user finds how it should look. Raises `error` where the file cannot be read or is something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(path, f"cannot be read ({problem.strerror})", "give the path of a YAML file") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as problem:  # the latter for a day that no calendar has, and for odd bytes
        raise error(path, f"not YAML ({str(problem).splitlines()[0]})", f"see {examples} for how it looks") from None
    if data is not None and not isinstance(data, dict):
        raise error(path, f"holds a {type(data).__name__}", f"write keys and values, as {examples} shows")
    return {str(key): value for key, value in (data or {}).items()}


def commented_yaml(model: BaseModel, notes: Mapping[str, str] | None = None) -> str:
    """A model as YAML, each key under a comment that says what it is: the text under the field.

    notes: comments by dotted key, to be written instead, and with no other keys than these.
    """
    return "\n".join(_lines(model, notes)) + "\n"


def _lines(model: BaseModel, notes: Mapping[str, str] | None, prefix: str = "") -> Iterator[str]:
    indent = "  " * prefix.count(".")
    dumped = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        key = prefix + name
        if notes is not None and not any(f"{note}.".startswith(f"{key}.") for note in notes):
            continue
        text = (field.description or "") if notes is None else notes.get(key, "")
        for line in text.splitlines() if notes else [text]:
            yield from (f"{indent}# {part}" for part in textwrap.wrap(line, WIDTH - len(indent)))
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, notes, f"{key}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            yield f"{indent}{name}:"
            yield from (f"{indent}  - {_flow(one.model_dump(mode='json', exclude_defaults=True))}" for one in value)
        elif isinstance(value, dict) and value and isinstance(next(iter(value)), int):
            yield f"{indent}{name}: {_flow(value)}"  # JSON would make texts of the keys.
        else:
            yield f"{indent}{name}: {_flow(dumped[name])}"


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=100_000, sort_keys=False, allow_unicode=True)
    return text.removesuffix("...\n").strip()
