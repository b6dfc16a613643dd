"""Errors that a user can mend: each says where, what was found and how to mend it.

The command lines print one message and exit with code 2; nobody sees a traceback for what a user can do wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["ConfigError", "GreenError", "RecipeError", "SourceError", "StoreError", "as_text", "as_utf8", "nearest"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_utf8(name: object) -> str:
    """A path as text that can be written down: bytes that are no UTF-8 as `\\xff`."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def as_text(message: object) -> str:
    """As `as_utf8`, and without characters by which a file's name would steer the terminal that shows it."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", as_utf8(message))


class GreenError(Exception):
    """What a user did or has that we cannot go on with.

    The three parts go to `Exception.__init__` by position, so that the error survives pickling on its way out of a
    worker process.
    """

    def __init__(self, where: object, found: str, remedy: str) -> None:
        super().__init__(as_text(where).replace("\n", "\\n"), as_text(found), as_text(remedy))

    @property
    def where(self) -> str:
        """File, key or option that the error is about."""
        return str(self.args[0])

    @property
    def found(self) -> str:
        """What was found there, with its values."""
        return str(self.args[1])

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return str(self.args[2])

    def __str__(self) -> str:
        stop = "" if self.remedy.endswith((".", "?", "!")) else "."
        return f"{self.where}: {self.found}. {self.remedy[:1].upper()}{self.remedy[1:]}{stop}"


class StoreError(GreenError):
    """A store, or the folder that should hold one, is not what its contract says."""


class RecipeError(GreenError):
    """A recipe cannot be read, or says something that cannot be."""


class SourceError(GreenError):
    """A raw file or folder cannot be used."""

    @classmethod
    def unwritable(cls, where: object, problem: OSError) -> SourceError:
        """For a file or folder that the system does not let us write."""
        return SourceError(
            where, f"cannot be written ({problem.strerror or problem})", "make room, or choose another folder"
        )


class ConfigError(GreenError):
    """A setting or a command line that cannot be carried out."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Half a sentence that names the known word nearest to `word`, or all of them where none is near."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(words)}"
