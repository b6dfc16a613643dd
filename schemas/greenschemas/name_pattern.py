"""File names as people write them: `{site}_{date}_label.tif`, where what stands in braces is a part of the name. Pure.

A pattern is of the whole path below the raw folder, with forward slashes. `{site}` is one or more characters of one
name, as many as fit, and the same wherever it is repeated; `*` is any characters of one name, `?` one of them, `**/`
any folders or none. All else stands for itself.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["copy_number", "fixed_letters", "has_parts", "original_name", "parts_of", "regex_of"]

_TOKEN = re.compile(r"\{(?P<part>[^{}]*)\}|(?P<folders>\*\*/)|(?P<many>\*+)|(?P<one>\?)|(?P<text>[^{*?]+|\{)")


_COPY = re.compile(r" ?\((?P<number>\d+)\)(?=(?:\.[^./]*)?$)")
"""What browsers and Google Drive add to the name of a file that is there already."""


def copy_number(path: str) -> int:
    """1 of `x (1).tif`; 0 of a file that is called as it was."""
    found = _COPY.search(path)
    return int(found["number"]) if found else 0


def original_name(path: str) -> str:
    """`x.tif` of `x (1).tif`."""
    return _COPY.sub("", path)


def has_parts(pattern: str) -> bool:
    """Whether a pattern has parts in braces, which a glob never has."""
    return "{" in pattern


def parts_of(pattern: str) -> tuple[str, ...]:
    """Names of the parts, each once, in their order."""
    return tuple(dict.fromkeys(match["part"] for match in _TOKEN.finditer(pattern) if match["part"] is not None))


def fixed_letters(pattern: str) -> int:
    """How many characters stand for themselves: of two patterns that fit a name, the one with more says more."""
    return sum(len(match["text"] or "") for match in _TOKEN.finditer(pattern))


@lru_cache(maxsize=64)  # It is asked for every file.
def regex_of(pattern: str) -> str:
    """The regular expression that the whole path of such a file matches, each part a named group.

    Raises ValueError, in words for a user, for a part that cannot be a name.
    """
    out, seen = [], set()
    for match in _TOKEN.finditer(pattern):
        part = match["part"]
        if part is not None:
            if not part.isidentifier():
                raise ValueError(f"parts in braces are named by letters, digits and `_`, unlike {{{part}}}")
            out.append(f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)")
            seen.add(part)
        elif match["folders"]:
            out.append("(?:[^/]+/)*")
        elif match["many"]:
            out.append("[^/]*")
        else:
            out.append("[^/]" if match["one"] else re.escape(match["text"]))
    return "".join(out)
