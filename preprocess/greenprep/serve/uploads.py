"""Files into the inbox: under their own names, where the recipe finds them, whole or not at all, and over no other."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from uuid import uuid4

from greenprep.raw.pairs import pairs_among
from greenprep.watch.remote import is_spool
from greenschemas.codes import Code
from greenschemas.errors import ConfigError, SourceError
from greenschemas.recipe import Pairing

__all__ = ["bring_in", "check_free", "link_in", "place_of"]

_NAME = re.compile(r"[A-Za-z0-9][\w .()+-]{0,180}\.(?i:tiff?)", re.ASCII)
"""What an uploaded file may be called."""


def place_of(name: str, pairing: Pairing) -> str:
    """Where below the inbox the recipe finds a file of that name. Folders in the name, if any, are thrown away.

    Raises ConfigError for a name that is none, or that the recipe finds nowhere.
    """
    base = name.replace("\\", "/").rpartition("/")[2]
    if not _NAME.fullmatch(base):
        raise ConfigError(
            repr(base[:80]), "no name for an upload", "letters, digits, _, - and dots, with .tif at the end, will do"
        )
    for pattern in (pairing.images, pairing.masks):
        path = f"{_folder(pattern)}/{base}".removeprefix("./")
        (found,) = pairs_among({path}, set(), pairing)
        if found.problem is not Code.STRAY:
            return path
    raise ConfigError(
        base,
        f"by its name neither an image (`{pairing.images}`) nor a mask (`{pairing.masks}`)",
        "rename it as the recipe says",
    )


def _folder(pattern: str) -> PurePosixPath:
    """The folders of a pattern, `uploaded` where it leaves one open."""
    steps = [step for step in PurePosixPath(pattern).parts[:-1] if step != "**"]
    if any("{" in step for step in steps):
        raise ConfigError(
            "upload", f"the folders of `{pattern}` say what a file is", "copy files into the inbox itself"
        )
    return PurePosixPath(*(step if re.fullmatch(r"[\w.-]+", step) else "uploaded" for step in steps))


def bring_in(inbox: Path, path: str, data: BinaryIO) -> None:
    """Make `data` a file of the inbox, which is seen whole or not at all; raises SourceError where there is one.

    And where the inbox is the copy of a bucket: the watcher takes out of it what is not in the bucket.
    """
    if is_spool(inbox):
        raise SourceError(path, "this inbox is the copy of a bucket", "put the file into the bucket")
    target = inbox / path
    draft = _draft(target)
    try:
        with draft.open("xb") as file:
            shutil.copyfileobj(data, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        _settle(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def link_in(inbox: Path, path: str, shared: Path, source: str) -> None:
    """As `bring_in`, from a file below `shared`, a folder of this machine; raises SourceError where there is none."""
    root = shared.resolve()
    found = (root / source).resolve()
    if root not in found.parents or not found.is_file():
        raise SourceError(source, "no file below the folder that may be linked from", "give its path below that folder")
    with found.open("rb") as data:
        bring_in(inbox, path, data)


def _draft(target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{uuid4().hex}.part")  # Hidden: the watcher leaves it alone.


def check_free(target: Path) -> None:
    """Raise SourceError where a file of that name is in the inbox."""
    if target.exists():
        raise SourceError(target.name, "a file of this name is in the inbox already", "rename it, or remove the other")


def _settle(draft: Path, target: Path) -> None:
    """Give the draft its name, if nobody has it."""
    try:
        os.link(draft, target)  # Fails where there is one, which a rename does not.
    except FileExistsError:
        check_free(target)
        raise
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        check_free(target)
        draft.rename(target)  # A file system without links.
