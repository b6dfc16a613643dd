"""From a folder to a guess, and from a guess to a commented file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from greenprep.init.ask import with_answers
from greenprep.init.guess import Guess, guess
from greenprep.init.look import look, tiff_names
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import write_whole
from greenschemas.yaml_file import commented_yaml

__all__ = ["guess_folder", "init", "recipe_text"]


def guess_folder(raw: Path) -> Guess:
    """The likeliest recipe for the files below `raw`; raises ConfigError or SourceError where there is none."""
    if not raw.is_dir():
        raise ConfigError(raw, "no such folder", "give the folder that holds the images and masks")
    names = tiff_names(raw)
    if not names:
        raise ConfigError(raw, "no TIFF in it", "give the folder that holds the images and masks")
    return guess(str(raw), names, look(raw, names))


def recipe_text(raw: Path, guessed: Guess) -> str:
    """The recipe as YAML, each key under how it was told."""
    head = (
        f"# What `greenprep init` made of {raw.name or raw}. Lines with COULD NOT TELL want a look.\n"
        "# `greenprep recipe` prints every other key, each with its default.\n"
    )
    return head + commented_yaml(guessed.recipe, guessed.notes)


def init(
    raw: str | Path, out: str | Path = "recipe.yaml", *, ask: Callable[[str, str], str] | None = None
) -> tuple[Path, Guess]:
    """Look at a folder that nobody described, and write a recipe for it to `out`, which must not be there yet.

    ask: called with a question and the likeliest answer for what the files do not tell; without it that is taken.
    Returns the recipe's path and the guess, whose `unsure` names the keys to look at. Raises ConfigError or SourceError
    where there is nothing to make a recipe of.
    """
    raw, out = Path(raw), Path(out)
    if out.exists():
        raise ConfigError(out, "is there already", "give another --out, or remove it")
    guessed = _with_places(guess_folder(raw), raw, out)
    if ask is not None:
        guessed = with_answers(guessed, ask)
    try:
        write_whole(out, recipe_text(raw, guessed))
    except OSError as problem:
        raise SourceError.unwritable(out, problem) from None
    return out, guessed


def _with_places(guessed: Guess, raw: Path, out: Path) -> Guess:
    """The guess with the folders of `greenprep run`: what it writes lies beside the recipe, or beside the raw folder
    where the recipe lies in that."""
    raw, here = raw.resolve(), out.resolve().parent
    beside = raw.parent if raw in (here, *here.parents) else here

    def seen(path: Path) -> Path:
        try:
            return Path(os.path.relpath(path, here))
        except ValueError:  # on another drive
            return path

    places = {"raw": seen(raw), "clean": seen(beside / f"{raw.name}.clean"), "store": seen(beside / f"{raw.name}.zarr")}
    notes = {
        "raw": "For `greenprep run`, paths from this file's folder: raw files, which are never written to;",
        "clean": "the verdict on each of them;",
        "store": "and the store.",
    }
    return Guess(guessed.recipe.model_copy(update=places), notes | guessed.notes)
