"""A map of a scene of any size: block by block, each from overlapping windows, each kept as soon as it is done.

Memory is bounded by one block and its margin, whatever the scene. Finished blocks lie beside the map, in a folder
called `MAP.parts`, until the map is whole; a stopped prediction goes on at the first block that is missing.
Long, because a map is followed here from the opened scene to the last file beside it.

Letters: B windows in a batch, C bands that the net sees, K classes, H rows, W columns.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.colours import class_colours
from greenschemas.console import Ticker, say
from greenschemas.errors import ConfigError, SourceError
from greenschemas.files import whole
from greenschemas.frozen import digest
from greenschemas.grid import Grid
from greenschemas.lock import only_writer
from greenschemas.products import scene_name, state_of
from greentrain.maps.blend import Axis, Block, blocks, cut
from greentrain.maps.judge import Usual, believed, check, farthest, offset_in, tags_of, usual_of
from greentrain.maps.outputs import KEY, NO_CLASS, check_names, is_done, map_paths, spare_others
from greentrain.maps.raster import Layer, write_map
from greentrain.maps.scene import Correction, Layout, Scene, open_scene
from greentrain.maps.stac import write_item
from greentrain.maps.style import class_style, share_style, write_style
from greentrain.maps.windows import Beside, Probabilities, Seen, beside_of, mean_and_spread, predict_block

if TYPE_CHECKING:
    from greentrain.training.checkpoint import Trained

__all__ = ["Classifier", "Options", "classifier_of", "count_blocks", "predict_scene"]

_SURE = (8, 48, 107)
"""Colour of full confidence, for QGIS."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """What prediction needs to know of a trained net, and nothing of how it was trained."""

    identity: str
    """Digest of weights and settings: goes into the map's tags."""
    classes: tuple[str, ...]
    layout: Layout
    """What it knows of a scene's bands, and which of them it sees."""
    size: int
    """Rows and columns of the tiles that it was trained on."""
    probabilities: Probabilities
    """Raw values (B, C, H, W) float32 and usable pixels (B, H, W) bool to class probabilities (B, K, H, W) on the CPU.

    Normalises as in training; unusable pixels hold 0 and must count for nothing.
    """
    usual: Usual | None = None
    """What is usual for its scenes; None: they are not checked."""
    beside: Beside | None = None
    """Trees whose probabilities are averaged with the net's."""
    others: tuple[tuple[Probabilities, Beside | None], ...] = ()
    """More nets, each with its trees, whose probabilities are averaged with the first's."""

    @property
    def reach(self) -> int:
        """Pixels around a block that have to be known, whatever the windows see."""
        return max((each.reach for each in (self.beside, *(trees for _, trees in self.others)) if each), default=0)


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
    """Also write `MAP_confidence.tif`: the largest probability, and the entropy over that of total ignorance; of
    several nets also how far they differ, as `mean_and_spread` has it."""
    block: int = 1024
    """Rows and columns predicted and kept as one piece; a multiple of 512, the tiles of the GeoTIFF."""
    scale: float = 1.0
    """What the scene's reflectances are multiplied by, to be in the units of the store."""
    harmonise: bool = False
    """Bring the scene's numbers to the training data's, by its scale and offset tags where these differ, and take away
    the radiometric offset between the two, where one is found."""
    resample: float | None = None
    """Side of the pixels, in metres, that the scene is brought to and the map has; None: the scene's own."""
    keep_clouds: bool = False
    """Classify what a quality band calls cloud, although training left such pixels out."""
    force: bool = False
    """Map a scene whose values or pixels are unlike those of training; what is unlike is told."""
    overwrite: bool = False
    """Write over files that are no map of this net and scene."""
    later: tuple[Path, ...] = ()
    """Scenes of later dates, in order of time, for a run that learnt from several dates at once."""
    remote: bool = False
    """Read scenes, and the assets of a STAC item, that lie on a server; else these are refused."""

    def step(self, size: int) -> int:
        """Pixels from one window to the next."""
        return max(1, round(size * (1 - self.overlap)))


def classifier_of(trained: Trained, *others: Trained) -> Classifier:
    """A run's net, on whatever device it was put, or the mean of several runs'; scenes are judged by the first.

    Raises ConfigError where the runs have not the same classes and bands.
    """
    contract = trained.contract
    for other in others:
        for what, own, its in (
            ("classes", trained.rule.classes, other.rule.classes),
            ("bands", trained.normaliser.bands, other.normaliser.bands),
        ):
            if own != its:
                found = f"{what} {', '.join(its)}, the first run has {', '.join(own)}"
                raise ConfigError("--ensemble", found, "give runs on the same bands and classes")
    quality = contract.quality if contract.clouds_masked else {}
    return Classifier(
        digest([each.identity for each in (trained, *others)]) if others else trained.identity,
        trained.rule.classes,
        Layout(contract.declared_bands, trained.normaliser.bands, quality),
        contract.tile_size,
        trained.of_net,
        usual_of(contract),
        beside_of(trained),
        tuple((other.of_net, beside_of(other)) for other in others),
    )


def count_blocks(grid: Grid, options: Options) -> int:
    """Blocks of a scene: what a progress bar counts."""
    return -(-grid.height // options.block) * -(-grid.width // options.block)


def predict_scene(
    classifier: Classifier, path: Path, out: Path, options: Options = Options(), tick: Ticker | None = None
) -> tuple[Path, ...]:
    """Write the class map `out` (uint8, 255: no data) on the grid of the scene, and what else `options` asks for.

    Returns the paths written, the class map last; a map that is already there and would be the same is left alone.
    Raises SourceError for a scene whose bands, values or pixels do not fit or cannot be read, ConfigError where
    something else than a map of ours lies at one of the paths, LockedError where another process draws this map.
    """
    with only_writer(out, "greentrain predict"):
        return _predict_scene(classifier, path, out, options, tick)


def _predict_scene(
    classifier: Classifier, path: Path, out: Path, options: Options, tick: Ticker | None
) -> tuple[Path, ...]:
    if len(classifier.classes) >= NO_CLASS:
        raise ConfigError(out, f"{len(classifier.classes)} classes", f"a class map holds at most {NO_CLASS - 1}")
    _check(options)
    wanted = map_paths(out, fractions=options.fractions, confidence=options.confidence)
    check_names(path, wanted)
    key = _key(classifier, path, options)
    with _open(classifier, path, options) as scene:
        if all(is_done(each, key) for each in wanted):
            return wanted
        origin = {"GREENSPACE_RUN": classifier.identity, "GREENSPACE_SCENE": scene_name(path)}
        if not options.overwrite:
            spare_others(wanted, origin)
        _prepare(scene, classifier.usual, options)
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = _parts_folder(out, key)
        if tick is not None:
            tick.total(count_blocks(scene.grid, options))
        for block in blocks(scene.grid.height, scene.grid.width, options.block):
            if not _part(parts, block).exists():
                _save(_part(parts, block), _predict_block(classifier, scene, block, options), options)
            if tick is not None:
                tick.advance(note=scene_name(path))
        _assemble(
            parts,
            scene,
            classifier,
            out,
            options,
            {
                KEY: key,
                **origin,
                "GREENSPACE_CLASSES": ",".join(classifier.classes),
                "GREENSPACE_CLASS_NAMES": json.dumps(classifier.classes, ensure_ascii=False),
                "GREENSPACE_CLOUD_SHARE": f"{_clouds(parts, scene.grid, options):.6g}",
            }
            | (_harmonised(scene.correction) if options.harmonise else {}),
        )
    shutil.rmtree(parts)
    return wanted


def _harmonised(correction: Correction) -> dict[str, str]:
    tags = json.dumps(correction.tags)
    return {"GREENSPACE_OFFSET": f"{correction.offset:g}"} | ({"GREENSPACE_TAGS": tags} if correction.tags else {})


def _open(classifier: Classifier, path: Path, options: Options) -> Scene:
    layout = replace(classifier.layout, quality={}) if options.keep_clouds else classifier.layout
    correction = Correction(scale=options.scale, metres=options.resample)
    return open_scene(path, layout, correction, later=options.later, remote=options.remote)


def _prepare(scene: Scene, usual: Usual | None, options: Options) -> None:
    """Correct the scene as asked and tell what is odd; raises SourceError where its map would mean nothing."""
    if scene.matched.doubt is not None:
        say(f"WARNING {scene.path}: {scene.matched.doubt}.")
    if options.resample is not None and scene.pixel is None:
        raise SourceError(scene.path, "nothing says how large its pixels are", "give the scene its CRS and transform")
    if usual is None:
        return
    if options.harmonise:
        _harmonise(scene, usual)
    for told in check(scene, usual, force=options.force):
        say(f"WARNING {scene.path}: {told}.")


def _harmonise(scene: Scene, usual: Usual) -> None:
    """Bring the scene's numbers to what training's mean: by its tags, else by the offset that it shows."""
    tags = tags_of(scene, usual)
    if tags and believed(scene, usual, tags, scene.sample()):
        scene.correction = replace(scene.correction, tags=tags)
        name = farthest(tags)
        factor, addend = tags[name]
        which = "its reflectances become" if len(set(tags.values())) == 1 else f"band by band, {name} becomes"
        say(f"{scene.path}: {which} x * {factor:.6g} {addend:+g}, as its scale and offset tags say.")
    if (offset := offset_in(scene, usual)) is not None:
        scene.correction = replace(scene.correction, offset=offset.amount)
        say(f"{scene.path}: {offset.amount:g} is taken from every reflectance ({offset.evidence}).")


def _check(options: Options) -> None:
    if options.window is not None and options.window < 1:
        raise ConfigError("--window", f"{options.window} pixels", "give a positive number of pixels")
    if not 0 <= options.overlap < 1:
        raise ConfigError("--overlap", f"{options.overlap}", "give a share from 0 up to, but not, 1")
    if not (math.isfinite(options.scale) and options.scale > 0):
        raise ConfigError("--scale", f"{options.scale:g}", "give a positive number")
    if options.resample is not None and not (math.isfinite(options.resample) and options.resample > 0):
        raise ConfigError("--resample", f"{options.resample:g} metres", "give the side of a pixel in metres")
    if options.batch_size < 1:
        raise ConfigError("--batch-size", f"{options.batch_size}", "give a positive number of windows")


@dataclass(frozen=True)
class _Piece:
    """What is known of a block of a scene."""

    share: Floats
    """(K, H, W) probabilities, NaN where the scene has no data."""
    spread: Floats | None
    """(H, W), of several nets."""
    cloudy: int
    """Pixels under cloud."""


def _predict_block(classifier: Classifier, scene: Scene, block: Block, options: Options) -> _Piece:
    size = options.window or classifier.size
    rows, cols = (cut(length, size, options.step(size)) for length in (scene.grid.height, scene.grid.width))
    top, bottom = _known(rows, block.row, block.row + block.height, classifier.reach)
    left, right = _known(cols, block.col, block.col + block.width, classifier.reach)
    part = scene.read(top, left, bottom - top, right - left)
    seen = Seen(part.values, part.usable, (top, left))
    own = np.s_[block.row - top : block.row - top + block.height, block.col - left : block.col - left + block.width]
    how: dict[str, Any] = {"batch_size": options.batch_size, "flips": options.flips}
    shares = [
        predict_block(net, len(classifier.classes), seen, block, (rows, cols), beside=trees, **how)
        for net, trees in ((classifier.probabilities, classifier.beside), *classifier.others)
    ]
    mean, spread = mean_and_spread(shares) if classifier.others else (shares[0], None)
    return _Piece(mean, spread, int(np.count_nonzero(part.cloud[own])))


def _known(axis: Axis, low: int, high: int, reach: int) -> tuple[int, int]:
    """First and one past the last pixel along an axis that the answers at [low, high) depend on."""
    first, last = axis.span(low, high)
    return max(min(first, low - reach), 0), min(max(last, high + reach), axis.length)


def _key(classifier: Classifier, path: Path, options: Options) -> str:
    """Digest of all that the map's pixels depend on; the block size is not among them, but the parts' shape is."""
    return digest(
        [
            classifier.identity,
            scene_name(path),
            [state_of(each, classifier.layout.bands) for each in (path, *options.later)],
            asdict(replace(options, window=options.window or classifier.size, **_UNSEEN)),
        ]
    )


_UNSEEN: dict[str, Any] = {"batch_size": 0, "overwrite": False, "remote": False, "later": ()}
"""Options that no pixel of a map depends on; of later scenes the state counts, not the path."""


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


def _save(path: Path, piece: _Piece, options: Options) -> None:
    """Keep a block's classes and its number of pixels under cloud, and the rest where a map of it is wanted; whole or
    not at all."""
    share = piece.share
    unknown = np.isnan(share[0])
    label = np.where(unknown, NO_CLASS, np.nan_to_num(share).argmax(0)).astype(np.uint8)
    arrays: dict[str, NDArray[np.generic]] = {"label": label, "cloudy": np.array(piece.cloudy)}
    if options.fractions or options.confidence:
        arrays["share"] = share
    if options.confidence and piece.spread is not None:
        arrays["spread"] = piece.spread
    with whole(path) as draft, draft.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub mixes it up with allow_pickle


def _clouds(parts: Path, grid: Grid, options: Options) -> float:
    """Share of the scene's pixels that have no class because of a cloud."""
    total = 0
    for block in blocks(grid.height, grid.width, options.block):
        with np.load(_part(parts, block)) as arrays:
            total += int(arrays["cloudy"])
    return total / (grid.height * grid.width)


def _assemble(
    parts: Path, scene: Scene, classifier: Classifier, out: Path, options: Options, tags: Mapping[str, str]
) -> None:
    """Write the maps from the finished blocks, each with its style for QGIS, the class map last; then their item."""
    classes, colours = classifier.classes, class_colours(classifier.classes)

    def pieces(
        make: Callable[[Mapping[str, NDArray[np.float32]]], NDArray[np.generic]],
    ) -> Iterator[tuple[int, int, NDArray[np.generic]]]:
        for block in blocks(scene.grid.height, scene.grid.width, options.block):
            with np.load(_part(parts, block)) as arrays:
                yield scene.as_written(block.row, block.col, make(arrays))

    layers = {
        out.with_name(f"{out.stem}_fractions.tif"): (
            Layer(classes, "float32", float("nan")),
            lambda arrays: arrays["share"],
            share_style(classes[0], colours[0]),
        ),
        out.with_name(f"{out.stem}_confidence.tif"): (
            Layer(("confidence", "entropy", *(("spread",) if classifier.others else ())), "float32", float("nan")),
            _certainty,
            share_style("confidence", _SURE),
        ),
        out: (
            Layer(("class",), "uint8", NO_CLASS, colours),
            lambda arrays: arrays["label"][None],
            class_style(classes, colours),
        ),
    }
    written = {}
    for path in map_paths(out, fractions=options.fractions, confidence=options.confidence):
        layer, make, style = layers[path]
        write_map(path, scene.written, layer, pieces(make), tags)
        write_style(path, style)
        written[path] = layer
    write_item(out, scene.written, written, classes, scene_name(scene.path))


def _certainty(arrays: Mapping[str, Floats]) -> Floats:
    """(2 or 3, H, W): the largest probability, entropy over that of equal shares (Shannon), the nets' spread."""
    share = arrays["share"]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), np.where(np.isnan(share), np.nan, 0))
    entropy = -terms.sum(0) / np.log(len(share))
    spread = [arrays["spread"]] if "spread" in arrays else []
    return np.stack([share.max(0), entropy.clip(0, 1), *spread]).astype(np.float32)
