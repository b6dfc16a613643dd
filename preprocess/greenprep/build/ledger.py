"""What a build has finished, as files that appear whole: a killed build goes on from here.

Records are pickled: a reader checks their digest before it loads them, and they lie in the scratch folder of the build,
which greenprep itself makes beside the store and removes. It is no format for exchange.
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from typing import Any

from greenprep.store.location import Location
from greenschemas.errors import StoreError

__all__ = ["Ledger"]

_ENDING = ".done"


@dataclass(frozen=True)
class Ledger:
    """Records by key in a folder; a key is a digest of all that its record depends on."""

    folder: Location

    def keys(self) -> set[str]:
        """Keys of all records."""
        return {name.removesuffix(_ENDING) for name in self.folder.names() if name.endswith(_ENDING)}

    def record(self, key: str, value: object) -> None:
        """Keep `value` under `key`: what it stands for must be safe on the disk already."""
        data = pickle.dumps(value)
        (self.folder / (key + _ENDING)).write([hashlib.sha256(data).digest(), data])

    def recall(self, key: str) -> Any:
        """The record of a key; raises FileNotFoundError, or StoreError where it is not what was written."""
        data = (self.folder / (key + _ENDING)).read()
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            raise StoreError(self.folder.url, f"the record {key} of a stopped build is damaged", "delete it")
        return pickle.loads(data[32:])
