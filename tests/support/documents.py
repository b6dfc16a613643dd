"""The commands and the code that README and docs/ show, found in their pages and run as they stand there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

__all__ = ["DOCS", "PAGES", "ROOT", "SMALL", "blocks", "command_of", "is_whole", "lines", "run"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")), ROOT / "pipelines/README.md", ROOT / "train/README.md")
SMALL: Mapping[tuple[str, str], Sequence[str]] = {
    ("greenprep", "clean"): ["--workers", "1"],
    ("greenprep", "tile"): ["--workers", "0"],
    ("greenprep", "run"): ["--workers", "0"],
    ("greentrain", "fit"): ["--epochs", "1", "--set", "accelerator=cpu", "--set", "trees=false"],
}
"""Words that go behind those of a page, so that a test costs seconds: what is run is what the page shows, and these."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ )?(green(?:prep|train) .+)$|`(green(?:prep|train) [a-z]+[^`]*)`", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """What stands in the fences of one language, `` for none."""
    return [text for kind, text in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def lines(page: Path, *, fenced: bool = True) -> list[str]:
    """Every command of ours in a page, from the first to the last, without its comment.

    fenced: those in fences besides those between backquotes.
    """
    text = page.read_text(encoding="utf-8")
    if not fenced:
        text = _FENCE.sub("", text)
    found = (block or inline for block, inline in _COMMAND.findall(text))
    return [one for line in found for one in re.sub(r"\s+#.*", "", " ".join(line.split())).split(" && ")]


def command_of(line: str) -> tuple[object, list[str]]:
    """(application, words) of a line that a shell would take."""
    from greenprep.cli import app as prep
    from greentrain.cli import app as train

    words = shlex.split(line.split(" > ")[0])
    return {"greenprep": prep, "greentrain": train}[words[0]], words[1:]


def is_whole(line: str) -> bool:
    """Whether it says all that its command must be told; `greentrain predict --harmonise` only names an option."""
    app, words = command_of(line)
    command = _built(app).commands[words[0]]  # type: ignore[attr-defined]
    given = command.make_context(words[0], words[1:], resilient_parsing=True).params
    return all(given.get(one.name) is not None for one in command.params if one.required)


@cache
def _built(app: object) -> object:
    """The program as it parses; building it takes a tenth of a second."""
    return get_command(app)  # type: ignore[arg-type]


def run(line: str, small: Sequence[str] = ()) -> str:
    """What a command prints that ends well; `small`: words behind it and those of `SMALL`."""
    app, words = command_of(line)
    done = CliRunner().invoke(app, [*words, *SMALL.get((line.split()[0], words[0]), ()), *small])  # type: ignore[arg-type]
    assert done.exit_code == 0, (line, done.output, done.exception)
    return done.output
