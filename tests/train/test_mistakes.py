"""Doubtful labels: what a sure net contradicts, and nothing else."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor

from greenschemas.errors import ConfigError
from greenschemas.store import Store, open_store
from greentrain.data.targets import target_rule
from greentrain.study.mistakes import Tile, by_group, find_mistakes, judge_tiles, write_mistakes
from support.stores import reseal, write_tiny_store


def test_judgement_by_hand() -> None:
    share = torch.tensor([0.95, 0.95, 0.6, 0.95]).repeat(1, 1, 1, 1)
    share = torch.cat([share, 1 - share], 1)  # (1, 2, 1, 4): sure of class 0 but in the third pixel
    fraction = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]], [[0.0, 1.0, 1.0, 1.0]]]])
    counted = torch.tensor([[[True, True, True, False]]])
    found = judge_tiles(share, fraction, counted, 0.9)
    assert found.pixels.tolist() == [3] and found.predicted.tolist() == [0]
    assert found.suspect[0] == pytest.approx(1 / 3)
    assert found.loss[0] == pytest.approx(-(np.log(0.95) + np.log(0.05) + np.log(0.4)) / 3, rel=1e-5)


def test_a_mixed_pixel_is_not_doubtful() -> None:
    share = torch.tensor([[[[0.99]], [[0.01]]]])
    found = judge_tiles(share, torch.tensor([[[[0.3]], [[0.7]]]]), torch.ones(1, 1, 1, dtype=torch.bool), 0.9)
    assert found.suspect.tolist() == [0] and found.predicted.tolist() == [-1]


def test_a_tile_without_a_label_has_no_loss() -> None:
    found = judge_tiles(
        torch.full((1, 2, 3, 3), 0.5), torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.bool), 0.9
    )
    assert np.isnan(found.loss[0]) and found.pixels[0] == 0


def perfect(store: Store) -> Any:
    """A run whose net reads the class off the first band, as the tiny store makes it."""

    def probabilities(raw: Tensor, valid: Tensor) -> Tensor:
        nearest = ((raw[:, :1].float() - 1000) / 150 + 1).round().clamp(0, 2)
        return torch.where(nearest == torch.arange(3).view(1, 3, 1, 1), 0.98, 0.01)

    contract = store.contract
    return SimpleNamespace(
        contract=contract,
        rule=target_rule("fractions", contract.classes),
        normaliser=SimpleNamespace(bands=contract.features),
        probabilities=probabilities,
    )


def swap_labels(path: Path, tile: int) -> None:
    """Give the classes of one tile each other's places, as a mask of another scene would."""
    array = zarr.open_group(str(path))["fraction"]
    array[tile] = np.roll(array[tile], 1, axis=0)


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_swapped_labels_come_first_and_go_to_the_table_that_split_takes(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=6)
    swap_labels(tmp_path / "s.zarr", 5)
    store = open_store(tmp_path / "s.zarr")
    run = perfect(store)
    tiles = find_mistakes(run, store)
    assert len(tiles) == 12 and tiles[0].tile == 5 and tiles[0].suspect > 0.9 > 0.1 > tiles[1].suspect
    assert (tiles[0].group, tiles[0].split, tiles[0].col) == ("T_2020_2", "train", 32)
    suspects = write_mistakes(run, store, tiles, tmp_path / "out", sure=0.9, limit=0.2)
    assert [tile.tile for tile in suspects] == [5]
    (row,) = read_table(tmp_path / "out" / "exclude.csv")
    assert (row["group"], row["tile"]) == ("T_2020_2", "5")
    assert row["path"] == "images/T/T_2020_2_1_GeoTIFF.tif"
    groups = read_table(tmp_path / "out" / "groups.csv")
    assert groups[0]["group"] == "T_2020_2" and len(groups) == 6
    page = (tmp_path / "out" / "errors.html").read_text()
    assert page.count("data:image/png") % 3 == 0 and "T_2020_2" in page and 'src="http' not in page


def test_file_names_are_escaped_on_the_page(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=2)
    group = zarr.open_group(str(tmp_path / "s.zarr"))
    group["path"][:] = np.array(["<script>alert(1)</script>.tif"] * 2, np.dtypes.StringDType())
    reseal(tmp_path / "s.zarr")
    store = open_store(tmp_path / "s.zarr")
    write_mistakes(perfect(store), store, find_mistakes(perfect(store), store), tmp_path, sure=0.9, limit=0.2)
    assert "<script>" not in (tmp_path / "errors.html").read_text()


def test_groups_are_weighed_by_their_pixels() -> None:
    def tile(pixels: int, loss: float) -> Tile:
        return Tile(0, "p", 0, 0, "g", "val", loss, 0.0, pixels, "")

    (group,) = by_group([tile(300, 1.0), tile(100, 5.0)])
    assert (group.loss, group.tiles) == (2.0, 2)


def test_sure_is_a_probability_above_one_half(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "s.zarr", sources=2)
    store = open_store(tmp_path / "s.zarr")
    with pytest.raises(ConfigError, match="--sure"):
        find_mistakes(perfect(store), store, sure=0.5)
