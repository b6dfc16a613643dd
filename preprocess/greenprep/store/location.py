"""A folder, on a disk or behind an fsspec URL, whose files appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from greenschemas.errors import StoreError
from greenschemas.files import sync_folder, whole

__all__ = ["Location", "link_or_copy", "swap_into_place"]


@dataclass(frozen=True)
class Location:
    """Sent to workers as its address alone."""

    url: str
    """A path, or a URL that fsspec knows, without a slash at the end."""

    @classmethod
    def at(cls, location: str | Path) -> Location:
        """The location at a path (made absolute, since workers may stand elsewhere) or URL."""
        text = str(location)
        if "://" in text:
            return cls(text.rstrip("/"))
        return cls(str(Path(text).absolute()))

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return "://" not in self.url

    @property
    def shared(self) -> bool:
        """Whether another process sees the same files."""
        return not self.url.startswith("memory://")

    @property
    def path(self) -> Path:
        """As a path; only for local ones."""
        return Path(self.url)

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.url}/{name}")

    def beside(self, ending: str) -> Location:
        """The location of the same name with `ending` added."""
        return Location(self.url + ending)

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        import fsspec

        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as problem:
            raise StoreError(
                self.url,
                f"fsspec cannot open it ({problem})",
                "install the file system's package (`s3fs` for s3://), or give a path",
            ) from None
        return found

    def exists(self) -> bool:
        """Whether there is a file or folder of this name."""
        if self.local:
            return self.path.exists()
        fs, path = self._remote
        fs.invalidate_cache()
        return bool(fs.exists(path))

    def names(self) -> list[str]:
        """Names of the files right in it, sorted; none if it does not exist."""
        if self.local:
            return sorted(entry.name for entry in os.scandir(self.path)) if self.path.is_dir() else []
        fs, path = self._remote
        fs.invalidate_cache()
        try:
            return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(path, detail=False))
        except FileNotFoundError:
            return []

    def write(self, data: bytes | Sequence[bytes]) -> None:
        """Make this file hold `data`, or its pieces one after the other: nobody sees a part of it.

        A local one need not be on the disk when this returns: `sync_tree` waits for all of a build at once, and until
        then whoever finds it verifies it.
        """
        pieces = [data] if isinstance(data, bytes) else data
        if not self.local:
            fs, path = self._remote
            fs.pipe_file(path, b"".join(pieces))
            return
        with whole(self.path, synced=False) as draft, draft.open("wb") as file:
            file.writelines(pieces)

    def read(self, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of this file from `start` to `end`; raises FileNotFoundError."""
        if not self.local:
            fs, path = self._remote
            data: bytes = fs.cat_file(path, start=start, end=end)
            return data
        with self.path.open("rb") as file:
            file.seek(start or 0)
            return file.read(-1 if end is None else end - (start or 0))

    def remove(self) -> None:
        """Remove this file or folder with all in it; nothing happens if it is not there."""
        if not self.local:
            fs, path = self._remote
            if fs.exists(path):
                fs.rm(path, recursive=True)
        elif self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)

    def upload(self, folder: Path, last: str) -> None:
        """Copy all files of a local folder to this location, the file `last` after all others."""
        names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
        for name in sorted(names, key=lambda name: name == last):
            (self / name).write((folder / name).read_bytes())


def link_or_copy(old: str | Path, new: str | Path) -> None:
    """Give the file `old` a second name, `new`, or copy it where the file system knows no such thing."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def swap_into_place(new: Path, old: Path) -> None:
    """Put the folder `new` where `old` stands, in one step where the system can (Linux), and remove the old one."""
    if not _swap(new, old):
        aside = old.with_name(f".{old.name}.old")
        os.rename(old, aside)
        os.rename(new, old)
        new = aside
    sync_folder(old.parent)
    shutil.rmtree(new)


def _swap(a: Path, b: Path) -> bool:
    """renameat2(RENAME_EXCHANGE), which Python does not offer; False where there is none."""
    if sys.platform != "linux":
        return False
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange_flag = -100, 2
    return call is not None and call(here, os.fsencode(a), here, os.fsencode(b), exchange_flag) == 0
