"""The face of a package: names that come from its modules on first use (PEP 562), so that importing it costs nothing.

A package says three things: imports under `TYPE_CHECKING` for editors and mypy, `__all__`, and the home of each name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose public names live in the modules that `homes` names.

    `__version__` is that of the distribution, for every package of it.
    """

    def find(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("greenspace")
        elif name in homes:
            value = getattr(import_module(homes[name]), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        vars(sys.modules[package])[name] = value
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, "__version__"})

    return find, names
