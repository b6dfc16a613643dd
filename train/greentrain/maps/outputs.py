"""Where maps go: beside no input, over nobody else's file, and each scene's under its own name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from greenschemas.errors import ConfigError, SourceError
from greenschemas.products import is_safe
from greentrain.maps.raster import must_be_utf8, open_raster

__all__ = [
    "AFTER",
    "BEFORE",
    "KEY",
    "NO_CLASS",
    "check_names",
    "check_outputs",
    "is_done",
    "is_map",
    "map_paths",
    "pair_up",
    "spare_others",
]

KEY = "GREENSPACE_KEY"
"""Tag with the digest of all that a map depends on."""
BEFORE, AFTER = "GREENSPACE_BEFORE", "GREENSPACE_AFTER"
"""Tags of a map of change: the names of the two maps."""
NO_CLASS = 255
"""Value of the class map where the scene has no data."""
_NAME_MAX = 249
"""Bytes of a file's name that a file system takes, less those of `.parts`."""
_SUFFIXES = (".tif", ".tiff")


def map_paths(out: Path, *, fractions: bool, confidence: bool) -> tuple[Path, ...]:
    """The files that a prediction writes, the class map last."""
    beside = [name for name, asked in (("fractions", fractions), ("confidence", confidence)) if asked]
    return (*(out.with_name(f"{out.stem}_{name}.tif") for name in beside), out)


def pair_up(files: Sequence[Path], out: Path | None) -> list[tuple[Path, Path]]:
    """(scene, map) of each: SCENE OUT without a folder, else every scene with SCENE_map.tif in the folder.

    Scenes of later dates may stand between SCENE and OUT.

    A folder of scenes is searched with its subfolders, which the maps' folder has again; maps of ours in it are no
    scenes. Raises ConfigError for another number of files, a folder without scenes, and scenes whose maps would have
    one name.
    """
    if out is None:
        if len(files) < 2:
            raise ConfigError("predict", f"{len(files)} files", "give SCENE.tif OUT.tif, or scenes and --out FOLDER")
        if any(_same(scene, files[-1]) for scene in files[:-1]):
            raise ConfigError(files[-1], "the map would replace the scene", "give the map another name")
        return [(files[0], files[-1])]
    pairs: list[tuple[Path, Path]] = []
    for path in files:
        scenes = _inside(path) if path.is_dir() and not is_safe(path) else [(path, Path())]
        if not scenes:
            raise ConfigError(path, "no .tif in that folder", "give scenes, or a folder of them")
        pairs += [(scene, out / below / f"{scene.stem}_map.tif") for scene, below in scenes]
    if len({target for _, target in pairs}) < len(pairs):
        raise ConfigError("--out", "two scenes of one name", "predict them into folders of their own")
    return pairs


def check_outputs(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Raise ConfigError where a file to be written is one to be read, or is written twice, by whatever path."""
    known = {_identity(path): f"the input {path}" for path in inputs}
    for path in outputs:
        if (clash := known.get(_identity(path))) is not None:
            raise ConfigError(path, f"this output would replace {clash}", "choose another name or folder")
        known[_identity(path)] = "another output of the same call"


def check_names(scene: Path, maps: Iterable[Path]) -> None:
    """Raise SourceError for a scene whose name cannot be opened, or whose map's name no file system takes."""
    must_be_utf8(scene)
    longest = max(len(os.fsencode(path.name)) for path in maps)
    if longest > _NAME_MAX:
        raise SourceError(scene, f"the name of its map would have {longest} bytes", f"rename it: {_NAME_MAX} fit")


def spare_others(paths: Iterable[Path], origin: Mapping[str, str]) -> None:
    """Raise ConfigError where a file lies in the way that is no map of ours, or one of another net or scene.

    origin: tags by which maps of one net and scene are known.
    """
    for path in paths:
        tags = _tags_of(path)
        if not path.exists() or all(tags.get(key) == value for key, value in origin.items()):
            continue
        what = "a map of another run or scene" if KEY in tags else "a file that is no map of ours"
        raise ConfigError(path, what, "give another name, or `--overwrite` to replace it")


def is_done(out: Path, key: str) -> bool:
    """Whether `out` is a map made from the same weights, scene and options."""
    return _tags_of(out).get(KEY) == key


def is_map(path: Path) -> bool:
    """Whether a file is a map that `greentrain predict` wrote."""
    return KEY in _tags_of(path)


def _tags_of(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    try:
        with open_raster(path) as there:
            return there.tags
    except SourceError:
        return {}  # something else lies there


def _inside(folder: Path) -> list[tuple[Path, Path]]:
    """[(scene, its folder below `folder`)], sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    seen = [path for path in files if not path.name.startswith(".") and not is_map(path)]
    return [(path, path.parent.relative_to(folder)) for path in seen]


def _identity(path: Path) -> object:
    """What two paths of one file have in common, be it linked."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def _same(one: Path, other: Path) -> bool:
    return _identity(one) == _identity(other)
