"""Where a net is wrong, and where the label may be: tiles and places by loss, and confident disagreement.

A pixel is suspect if the net is sure (its probability is at least `sure`) of a class that the label denies (its share
is at most 1 - `sure`): what a sure net of good score contradicts is worth a look before it is worth more training. The
idea is that of confident learning (Northcutt, Jiang, Chuang 2021), with one threshold for all classes.

Letters: B tiles of a batch, K classes, H rows, W columns.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from greenschemas.console import progress
from greenschemas.errors import ConfigError
from greenschemas.files import whole
from greenschemas.layout import SPLITS
from greenschemas.pages.page import write_page
from greenschemas.pictures import visible_bands
from greenschemas.store import Store
from greentrain.data.loader import open_loader
from greentrain.study.tile_rows import find_suspects, judged_row
from greentrain.training.checkpoint import Trained

__all__ = ["Group", "Judgement", "Tile", "by_group", "find_mistakes", "judge_tiles", "suspects_text", "write_mistakes"]


@dataclass(frozen=True)
class Judgement:
    """How the net's predictions differ from the labels of B tiles."""

    loss: NDArray[np.float64]
    """(B,) mean cross-entropy over the counted pixels; NaN where none counts."""
    suspect: NDArray[np.float64]
    """(B,) share of the counted pixels that are suspect."""
    pixels: NDArray[np.int64]
    """(B,) counted pixels."""
    predicted: NDArray[np.int64]
    """(B,) class that the net sees in most of the suspect pixels, -1 where there is none."""


@dataclass(frozen=True)
class Tile:
    """One tile, and how the net gets on with it."""

    tile: int
    """Its id in the store."""
    path: str
    """The image that it was cut from."""
    row: int
    col: int
    group: str
    split: str
    loss: float
    suspect: float
    pixels: int
    predicted: str
    """What the net sees where it contradicts the label; empty where it does not."""


@dataclass(frozen=True)
class Group:
    """One place: its tiles taken together, weighed by their pixels."""

    group: str
    split: str
    tiles: int
    loss: float
    suspect: float


def judge_tiles(share: Tensor, fraction: Tensor, counted: Tensor, sure: float) -> Judgement:
    """Compare predicted probabilities (B, K, H, W) with label shares (B, K, H, W) where counted (B, H, W)."""
    pixels = counted.flatten(1).sum(1)
    entropy = -(fraction * share.clamp_min(1e-7).log()).sum(1)
    loss = (entropy * counted).double().flatten(1).sum(1) / pixels
    suspect, label = find_suspects(share, fraction, counted, sure), share.argmax(1)
    votes = torch.stack([((label == k) & suspect).flatten(1).sum(1) for k in range(share.shape[1])], 1)
    predicted = torch.where(votes.sum(1) > 0, votes.argmax(1), -1)
    of_all = suspect.flatten(1).sum(1).double() / pixels
    return Judgement(loss.numpy(), of_all.numpy(), pixels.numpy(), predicted.numpy())


def find_mistakes(
    trained: Trained, store: Store, split: str = "all", *, sure: float = 0.9, batch_size: int = 8
) -> tuple[Tile, ...]:
    """Every tile of the split with a counted pixel, the largest loss first.

    Raises ConfigError for a `sure` that is no probability above one half, StoreError for an unknown split.
    """
    if not 0.5 < sure < 1:
        raise ConfigError("--sure", f"{sure}", "give a probability above 0.5 and below 1")
    names = trained.rule.classes
    describe = _Places(store)
    found: list[Tile] = []
    loader = open_loader(
        store, split, batch_size, normalise=False, bands=trained.normaliser.bands, order="sequential", cache="none"
    )
    with progress("errors", len(loader)) as bar:
        for batch in loader:
            share = trained.probabilities(batch["image"], batch["valid"])
            target = trained.rule(batch["fraction"], batch["valid"])
            judgement = judge_tiles(share, target.fraction, target.counted, sure)
            found += [
                describe.tile(int(tile), judgement, i, names)
                for i, tile in enumerate(batch["tile"])
                if judgement.pixels[i] > 0
            ]
            bar.advance()
    return tuple(sorted(found, key=lambda tile: -tile.loss))


def by_group(tiles: Sequence[Tile]) -> tuple[Group, ...]:
    """Groups, the largest loss first."""
    members: dict[str, list[Tile]] = {}
    for tile in tiles:
        members.setdefault(tile.group, []).append(tile)
    found = []
    for name, own in members.items():
        weight = np.array([tile.pixels for tile in own], np.float64)
        loss, suspect = (
            float(np.average([getattr(tile, key) for tile in own], weights=weight)) for key in ("loss", "suspect")
        )
        found.append(Group(name, own[0].split, len(own), loss, suspect))
    return tuple(sorted(found, key=lambda group: -group.loss))


def suspects_text(tiles: Sequence[Tile], limit: float) -> str:
    """How many tiles hold suspect pixels, and how many enough of them to be left out; the same on console and page."""
    some, many = sum(tile.suspect > 0 for tile in tiles), sum(tile.suspect >= limit for tile in tiles)
    return (
        f"{len(tiles):,} tiles: suspect pixels in {some:,} of them; {limit:.0%} of the pixels or more in {many:,}, "
        "which exclude.csv lists."
    )


def write_mistakes(
    trained: Trained, store: Store, tiles: Sequence[Tile], folder: Path, *, sure: float, limit: float, shown: int = 24
) -> Sequence[Tile]:
    """Write `tiles.csv`, `groups.csv`, `exclude.csv` and `errors.html`; returns the tiles of `exclude.csv`.

    limit: tiles of which at least this share is suspect go to `exclude.csv`, for `greenprep split --exclude`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suspects = sorted((tile for tile in tiles if tile.suspect >= limit), key=lambda tile: -tile.suspect)
    groups = by_group(tiles)
    columns = ("group", "path", "tile", "row", "col", "split", "loss", "suspect", "pixels", "predicted")
    _write_csv(folder / "tiles.csv", columns, tiles)
    _write_csv(folder / "exclude.csv", columns, suspects)
    _write_csv(folder / "groups.csv", ("group", "split", "tiles", "loss", "suspect"), groups)
    doubtful = sorted((tile for tile in tiles if tile.suspect > 0), key=lambda tile: -tile.suspect)
    write_page(
        folder / "errors.html",
        __package__,
        "mistakes.html.j2",
        said=suspects_text(tiles, limit),
        store=store.location,
        sure=sure,
        limit=limit,
        groups=groups[:50],
        all_groups=len(groups),
        worst=[(tile, judged_row(trained, store, tile.tile, sure)) for tile in tiles[:shown]],
        doubtful=[(tile, judged_row(trained, store, tile.tile, sure)) for tile in doubtful[:shown]],
        classes=trained.rule.classes,
        bands=visible_bands(store.contract.bands),
    )
    return suspects


class _Places:
    """Where each tile of a store comes from."""

    def __init__(self, store: Store) -> None:
        self._source, self._row, self._col = (store.read(name) for name in ("source_index", "row", "col"))
        self._path, self._group_name, self._split = (store.read(name) for name in ("path", "group_name", "split"))
        self._group = store.tile_group()

    def tile(self, index: int, judgement: Judgement, i: int, names: Sequence[str]) -> Tile:
        """Tile `index` with line `i` of a judgement."""
        group = self._group[index]
        code = int(self._split[group])
        return Tile(
            index,
            str(self._path[self._source[index]]),
            int(self._row[index]),
            int(self._col[index]),
            str(self._group_name[group]),
            SPLITS[code] if code < len(SPLITS) else "none",
            float(judgement.loss[i]),
            float(judgement.suspect[i]),
            int(judgement.pixels[i]),
            names[judgement.predicted[i]] if judgement.predicted[i] >= 0 else "",
        )


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Tile] | Sequence[Group]) -> None:
    with whole(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow("says" if column == "predicted" else column for column in columns)  # as scripts read it
        for row in rows:
            values = [getattr(row, column) for column in columns]
            writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
