"""What a build has finished, as files that appear whole: a killed build goes on from here."""

from __future__ import annotations

from dataclasses import dataclass

from greenprep.store.place import Location

__all__ = ["Ledger"]

_ENDING = ".done"


@dataclass(frozen=True)
class Ledger:
    """Records by key in a folder; a key is a digest of all that its record depends on."""

    place: Location

    def keys(self) -> set[str]:
        """Keys of all records."""
        return {name.removesuffix(_ENDING) for name in self.place.names() if name.endswith(_ENDING)}

    def record(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`: what it stands for must be safe on the disk already."""
        (self.place / (key + _ENDING)).write(data)

    def recall(self, key: str) -> bytes:
        """The record of a key; raises FileNotFoundError."""
        return (self.place / (key + _ENDING)).read()
