"""From a folder to a guess, and from a guess to a commented file."""

from __future__ import annotations

from pathlib import Path

from greenprep.init.guess import Guess, guess
from greenprep.init.look import look, tiff_names
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import write_whole
from greenschemas.yaml_file import commented_yaml

__all__ = ["guess_folder", "recipe_text", "write_guess"]


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


def write_guess(path: Path, raw: Path, guessed: Guess) -> None:
    """Write the recipe to `path`, which must not be there yet."""
    if path.exists():
        raise ConfigError(path, "is there already", "give another --out, or remove it")
    try:
        write_whole(path, recipe_text(raw, guessed))
    except OSError as problem:
        raise SourceError.unwritable(path, problem) from None
