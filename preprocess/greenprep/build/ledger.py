"""What a build has finished, as files that appear whole: a killed build goes on from here.

Records are pickled: a reader checks their digest before it loads them, and they lie in the scratch folder of the build,
which greenprep itself makes beside the store and removes. It is no format for exchange.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from greenprep.store.location import Location
from greenschemas.errors import StoreError
from greenschemas.files import sync_folder

__all__ = ["Ledger", "open_scratch"]

_ENDING = ".done"


@dataclass(frozen=True)
class Ledger:
    """Records by key in a folder; a key is a digest of all that its record depends on."""

    folder: Location

    def keys(self) -> set[str]:
        """Keys of all records."""
        return {name.removesuffix(_ENDING) for name in self.folder.names() if name.endswith(_ENDING)}

    def record(self, key: str, value: object) -> None:
        """Keep `value` under `key`; what it stands for need not be on the disk: whoever goes on verifies it."""
        data = pickle.dumps(value)
        (self.folder / (key + _ENDING)).write([hashlib.sha256(data).digest(), data])

    def recall(self, key: str) -> Any:
        """The record of a key; None where there is none, or it is not what was written: what it stood for is not done.

        No record is None.
        """
        try:
            data = (self.folder / (key + _ENDING)).read()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        return pickle.loads(data[32:])


def open_scratch(build: Location) -> None:
    """Make the scratch folder of a build, or see that the one that a stopped build left may be trusted.

    Its records are pickles, which run code when they are loaded: raises StoreError for a folder that is not this user's
    alone to write. Whoever may write to an object store is trusted with it.
    """
    if not build.local:
        return
    build.path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        build.path.mkdir(mode=0o755)
    if sys.platform != "win32":  # There a file's mode does not say who may write it.
        found = build.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o002:
            raise StoreError(
                build.url, "a scratch folder that others may have written", "remove it, or build elsewhere"
            )
    for name in ("spill", "ledger", "store"):
        (build.path / name).mkdir(exist_ok=True)
    sync_folder(build.path)
    sync_folder(build.path.parent)
