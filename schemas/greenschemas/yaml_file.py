"""Settings that a user writes, read from YAML."""

from __future__ import annotations

from pathlib import Path

import yaml

from greenschemas.errors import GreenError

__all__ = ["read_settings"]


def read_settings(path: Path, error: type[GreenError], examples: str) -> dict[str, object]:
    """Keys and values of a YAML file; none where it is empty.

    examples: where a user finds how it should look. Raises `error` where the file cannot be read or is something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(path, f"cannot be read ({problem.strerror})", "give the path of a YAML file") from None
    except (yaml.YAMLError, ValueError) as problem:  # the latter for a day that no calendar has, and for odd bytes
        raise error(path, f"not YAML ({str(problem).splitlines()[0]})", f"see {examples} for how it looks") from None
    if data is not None and not isinstance(data, dict):
        raise error(path, f"holds a {type(data).__name__}", f"write keys and values, as {examples} shows")
    return {str(key): value for key, value in (data or {}).items()}
