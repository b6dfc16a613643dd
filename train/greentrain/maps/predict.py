"""A map of a scene of any size: block by block, each from overlapping windows, each kept as soon as it is done.

Memory is bounded by one block and its margin, whatever the scene. Finished blocks lie beside the map, in a folder
called `MAP.parts`, until the map is whole; a stopped prediction goes on at the first block that is missing.

Letters: B windows in a batch, C bands that the net sees, K classes, H rows, W columns.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greenschemas.colours import class_colours
from greenschemas.console import Ticker
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole
from greenschemas.frozen import digest
from greentrain.data.value_range import check_units, usual_levels
from greentrain.maps.blend import Axis, Block, blend, blocks, cut
from greentrain.maps.raster import Grid, Layer, Scene, open_raster, open_scene, write_map

if TYPE_CHECKING:
    from greentrain.training.checkpoint import Trained

__all__ = ["NO_CLASS", "Classifier", "Options", "classifier_of", "count_blocks", "is_done", "predict_scene"]

NO_CLASS = 255
"""Value of the class map where the scene has no data."""
_KEY = "GREENSPACE_KEY"
"""Tag with the digest of all that a map depends on."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """What prediction needs to know of a trained net, and nothing of how it was trained."""

    identity: str
    """Digest of weights and settings: goes into the map's tags."""
    classes: tuple[str, ...]
    layout: tuple[str, ...]
    """Names of all bands of the store, in order: for scenes that do not name theirs."""
    bands: tuple[str, ...]
    """Names of the bands that the net sees, in its order."""
    size: int
    """Rows and columns of the tiles that it was trained on."""
    probabilities: Callable[[Tensor, Tensor], Tensor]
    """Raw values (B, C, H, W) float32 and usable pixels (B, H, W) bool to class probabilities (B, K, H, W) on the CPU.

    Normalises as in training; unusable pixels hold 0 and must count for nothing.
    """
    levels: tuple[float, ...] = ()
    """(C,) means in training, NaN where a band has no scale to keep; empty: the scene's units are not checked."""


@dataclass(frozen=True)
class Options:
    """How a map is made."""

    window: int | None = None
    """Rows and columns that the net sees at once; None: the size of the tiles that it learnt from."""
    overlap: float = 0.5
    """Share of a window that the next one sees again."""
    batch_size: int = 8
    flips: bool = False
    """Mean over the four mirror images (test-time augmentation): four times the cost."""
    fractions: bool = False
    """Also write `MAP_fractions.tif`: the expected share of each class in each pixel."""
    confidence: bool = False
    """Also write `MAP_confidence.tif`: the largest probability, and the entropy over that of total ignorance."""
    block: int = 1024
    """Rows and columns predicted and kept as one piece; a multiple of 512, the tiles of the GeoTIFF."""

    def step(self, size: int) -> int:
        """Pixels from one window to the next."""
        return max(1, round(size * (1 - self.overlap)))


def classifier_of(trained: Trained) -> Classifier:
    """A run's net, on whatever device it was put."""
    return Classifier(
        trained.identity,
        trained.rule.classes,
        tuple(band.name for band in trained.contract.bands),
        trained.normaliser.bands,
        trained.contract.tile_size,
        trained.probabilities,
        usual_levels(trained.contract, trained.normaliser.bands),
    )


def count_blocks(grid: Grid, options: Options) -> int:
    """Blocks of a scene: what a progress bar counts."""
    return -(-grid.height // options.block) * -(-grid.width // options.block)


def predict_scene(
    classifier: Classifier, path: Path, out: Path, options: Options = Options(), tick: Ticker | None = None
) -> tuple[Path, ...]:
    """Write the class map `out` (uint8, 255: no data) on the grid of the scene, and what else `options` asks for.

    Returns the paths written, the class map last; a map that is already there and would be the same is left alone.
    Raises SourceError for a scene whose bands or units do not fit or whose pixels cannot be read.
    """
    if len(classifier.classes) >= NO_CLASS:
        raise ConfigError(out, f"{len(classifier.classes)} classes", f"a class map holds at most {NO_CLASS - 1}")
    _check(options)
    key = _key(classifier, path, options)
    wanted = _paths(out, options)
    with open_scene(path, classifier.bands, classifier.layout) as scene:
        if all(is_done(each, key) for each in wanted):
            return wanted
        if classifier.levels:
            check_units(path, scene.sample(), classifier.levels)
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = _parts_folder(out, key)
        for block in blocks(scene.grid.height, scene.grid.width, options.block):
            if not _part(parts, block).exists():
                _save(_part(parts, block), _predict_block(classifier, scene, block, options), options)
            if tick is not None:
                tick.advance(note=path.name)
        _assemble(
            parts,
            scene.grid,
            classifier,
            out,
            options,
            {
                _KEY: key,
                "GREENSPACE_RUN": classifier.identity,
                "GREENSPACE_SCENE": path.name,
                "GREENSPACE_CLASSES": ",".join(classifier.classes),
            },
        )
    shutil.rmtree(parts)
    return wanted


def is_done(out: Path, key: str) -> bool:
    """Whether `out` is a map made from the same weights, scene and options."""
    if not out.exists():
        return False
    try:
        with open_raster(out) as there:
            return there.tags.get(_KEY) == key
    except SourceError:
        return False  # something else lies there; it will be replaced


def _check(options: Options) -> None:
    if options.window is not None and options.window < 1:
        raise ConfigError("--window", f"{options.window} pixels", "give a positive number of pixels")
    if not 0 <= options.overlap < 1:
        raise ConfigError("--overlap", f"{options.overlap}", "give a share from 0 up to, but not, 1")
    if options.batch_size < 1:
        raise ConfigError("--batch-size", f"{options.batch_size}", "give a positive number of windows")


def _predict_block(classifier: Classifier, scene: Scene, block: Block, options: Options) -> Floats:
    """(K, H, W) probabilities of a block, NaN where the scene has no data."""
    size = options.window or classifier.size
    rows, cols = (cut(length, size, options.step(size)) for length in (scene.grid.height, scene.grid.width))
    top, bottom = rows.span(block.row, block.row + block.height)
    left, right = cols.span(block.col, block.col + block.width)
    values, usable = scene.values(top, left, bottom - top, right - left)
    here = usable[block.row - top : block.row - top + block.height, block.col - left : block.col - left + block.width]
    nothing = np.full((len(classifier.classes), *here.shape), np.nan, np.float32)
    if not here.any():
        return nothing
    # Only a scene smaller than a window needs filling up; mirrored, it looks like more of the same place.
    missing = ((0, max(size - (bottom - top), 0)), (0, max(size - (right - left), 0)))
    values, usable = np.pad(values, ((0, 0), *missing), "symmetric"), np.pad(usable, missing, "symmetric")
    seen = _windows(classifier, values, usable, (top, left), block, (rows, cols), options)
    return np.where(here, blend(block, rows, cols, seen), nothing)


def _windows(
    classifier: Classifier,
    values: Floats,
    usable: NDArray[np.bool_],
    origin: tuple[int, int],
    block: Block,
    axes: tuple[Axis, Axis],
    options: Options,
) -> Iterator[tuple[int, int, Floats]]:
    """The prediction of every window that touches the block and has anything to see."""
    rows, cols = axes
    size = rows.size
    boxes = {
        (i, j): (
            slice(rows.starts[i] - origin[0], rows.starts[i] - origin[0] + size),
            slice(cols.starts[j] - origin[1], cols.starts[j] - origin[1] + size),
        )
        for i in rows.touching(block.row, block.row + block.height)
        for j in cols.touching(block.col, block.col + block.width)
    }
    # A window without a usable pixel predicts for none: leaving it out changes no pixel that will be kept.
    todo = [place for place, box in boxes.items() if usable[box].any()]
    for start in range(0, len(todo), options.batch_size):
        batch = todo[start : start + options.batch_size]
        image = torch.from_numpy(np.stack([values[:, *boxes[place]] for place in batch]))
        valid = torch.from_numpy(np.stack([usable[boxes[place]] for place in batch]))
        for place, found in zip(batch, _flipped(classifier, image, valid, options.flips).numpy(), strict=True):
            yield *place, found


@torch.inference_mode()
def _flipped(classifier: Classifier, image: Tensor, valid: Tensor, flips: bool) -> Tensor:
    """Probabilities (B, K, H, W); with `flips` their mean over the mirror images, each turned back."""
    ways: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2)) if flips else ((),)
    total = torch.zeros(())
    for dims in ways:
        total = total + classifier.probabilities(image.flip(dims), valid.flip(dims)).float().flip(dims)
    return total / len(ways)


def _key(classifier: Classifier, path: Path, options: Options) -> str:
    """Digest of all that the map's pixels depend on; the block size is not among them, but the parts' shape is."""
    about = path.stat() if path.exists() else None
    return digest(
        [
            classifier.identity,
            path.name,
            about and [about.st_size, about.st_mtime_ns],
            options.window or classifier.size,
            options.overlap,
            options.flips,
            options.fractions,
            options.confidence,
            options.block,
        ]
    )


def _paths(out: Path, options: Options) -> tuple[Path, ...]:
    beside = [name for name, asked in (("fractions", options.fractions), ("confidence", options.confidence)) if asked]
    return (*(out.with_name(f"{out.stem}_{name}.tif") for name in beside), out)


def _parts_folder(out: Path, key: str) -> Path:
    """The folder of finished blocks; emptied where it belongs to another prediction."""
    folder = out.with_name(f"{out.name}.parts")
    mark = folder / "key"
    if folder.exists() and (not mark.exists() or mark.read_text() != key):
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    mark.write_text(key)
    return folder


def _part(folder: Path, block: Block) -> Path:
    return folder / f"{block.index:08d}.npz"


def _save(path: Path, share: Floats, options: Options) -> None:
    """Keep a block's classes, and its probabilities where a map of them is wanted; whole or not at all."""
    unknown = np.isnan(share[0])
    label = np.where(unknown, NO_CLASS, np.nan_to_num(share).argmax(0)).astype(np.uint8)
    arrays: dict[str, NDArray[np.generic]] = {"label": label}
    if options.fractions or options.confidence:
        arrays["share"] = share
    with whole(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub mixes it up with allow_pickle


def _assemble(
    parts: Path, grid: Grid, classifier: Classifier, out: Path, options: Options, tags: Mapping[str, str]
) -> None:
    """Write the maps from the finished blocks, the class map last."""

    def pieces(
        make: Callable[[Mapping[str, NDArray[np.float32]]], NDArray[np.generic]],
    ) -> Iterator[tuple[int, int, NDArray[np.generic]]]:
        for block in blocks(grid.height, grid.width, options.block):
            with np.load(_part(parts, block)) as arrays:
                yield block.row, block.col, make(arrays)

    layers = {
        out.with_name(f"{out.stem}_fractions.tif"): (
            Layer(classifier.classes, "float32", float("nan")),
            lambda arrays: arrays["share"],
        ),
        out.with_name(f"{out.stem}_confidence.tif"): (
            Layer(("confidence", "entropy"), "float32", float("nan")),
            lambda arrays: _certainty(arrays["share"]),
        ),
        out: (
            Layer(("class",), "uint8", NO_CLASS, class_colours(classifier.classes)),
            lambda arrays: arrays["label"][None],
        ),
    }
    for path in _paths(out, options):
        layer, make = layers[path]
        write_map(path, grid, layer, pieces(make), tags)


def _certainty(share: Floats) -> Floats:
    """(2, H, W): the largest probability, and Shannon's entropy divided by that of equal shares, 0 to 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), np.where(np.isnan(share), np.nan, 0))
    entropy = -terms.sum(0) / np.log(len(share))
    return np.stack([share.max(0), entropy.clip(0, 1)]).astype(np.float32)
