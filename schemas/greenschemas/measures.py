"""What was measured of a pair, by name: a mapping that takes a tenth of a dict's memory, since names are kept once.

A collection of a million pairs has a hundred numbers of each, under the same few lists of names.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer

__all__ = ["Measured", "Measures"]


class Measures(Mapping[str, float]):
    """Numbers by name, in the order in which they came; not to be changed."""

    __slots__ = ("_index", "_values")

    def __init__(self, values: Mapping[str, float]) -> None:
        self._index = _index_of(tuple(values))
        self._values = array("d", values.values())

    def __getitem__(self, name: str) -> float:
        return self._values[self._index[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict, and nearly as fast: checks of a collection ask for every number of every pair."""
        at = self._index.get(name)
        return default if at is None else self._values[at]

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[Measures], tuple[dict[str, float]]]:
        return Measures, (dict(self),)


@lru_cache(maxsize=4096)
def _index_of(names: tuple[str, ...]) -> dict[str, int]:
    """Where each name stands; one object for all mappings of the same names."""
    return {name: at for at, name in enumerate(names)}


Measured = Annotated[Mapping[str, float], AfterValidator(Measures), PlainSerializer(dict, return_type=dict[str, float])]
"""A field of a model that is read from, and written as, a plain object of names and numbers."""
