"""A stranger's folder to hectares: what `init` writes is all that the other commands need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import greenprep as gp
from greenprep.cli import app as prep
from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from support.documents import DOCS, blocks
from support.strangers import (
    a_file_a_class,
    beside_each_other,
    dated_folders,
    embeddings,
    names_with_spaces,
    palette_chips,
    told_by_folders,
    worldcover,
)

pytest.importorskip("torch", reason="maps need both sides")
gt = pytest.importorskip("greentrain")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
QUICK = {"preset": "tiny", "dims": [8, 16], "depths": [1, 1], "depths_decoder": [1, 1], "d_state": 1}


@pytest.mark.parametrize(
    "stranger",
    [beside_each_other, palette_chips, worldcover, embeddings, told_by_folders, dated_folders, names_with_spaces],
    ids=lambda made: made.__name__,
)
def test_from_a_strangers_folder_to_hectares_with_no_edit(stranger, tmp_path: Path, monkeypatch) -> None:
    from greentrain.cli import app as train

    monkeypatch.chdir(tmp_path)
    raw = stranger(Path("theirs"))
    asked = CliRunner().invoke(prep, ["init", "theirs", "--yes"])
    assert asked.exit_code == 0 and "Next: greenprep run recipe.yaml" in asked.output, asked.output
    assert CliRunner().invoke(prep, ["run", "recipe.yaml", "--workers", "0"]).exit_code == 0
    store = open_store("theirs.zarr")
    fitted = gt.fit(store, "run", epochs=1, model=QUICK, accelerator="cpu", trees=False)
    assert fitted.best is not None and fitted.best["epoch"] == 1
    scene = str(raw / store.texts("path")[0])
    drawn = CliRunner().invoke(train, ["predict", "run", scene, "map.tif", "--png", "map.png", "--device", "cpu"])
    assert drawn.exit_code == 0, (drawn.output, drawn.exception)
    measured = CliRunner().invoke(train, ["area", "map.tif", "--json"])
    found = json.loads(measured.stdout)
    assert set(found["classes"]) == set(store.contract.classes) and 30 < found["hectares"] < 60  # 72 x 72 of about 10 m


def test_a_file_a_class_is_said_and_put_together_as_the_page_shows(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_file_a_class(Path("mydata"))
    asked = CliRunner().invoke(prep, ["init", "mydata", "--yes", "--out", "before.yaml"])
    assert "these images have more than one" in asked.output and "docs/data.md" in asked.output
    (code,) = blocks(DOCS / "data.md", "python")
    exec(code, {})
    path, guessed = gp.init("together")
    assert guessed.recipe.mask.classes == ("buildings", "trees", "water")
    assert (guessed.recipe.mask.kind.value, guessed.recipe.pairing.masks) == ("one_hot", "masks/{a}.tif")
    built = gp.run(path, workers=0)
    assert open_store("together.zarr").contract.sources == 8, built


def test_step_by_step_it_is_the_same_store(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = beside_each_other(Path("theirs"))
    path, guessed = gp.init(raw)
    assert "mask.classes" in guessed.unsure and guessed.recipe.store == Path("theirs.zarr")
    gp.run(path, workers=0)
    gp.clean(raw, "clean", path, workers=1)
    gp.tile("clean", "steps.zarr", workers=0)
    gp.split("steps.zarr")
    one, other = (open_store(name).contract for name in ("theirs.zarr", "steps.zarr"))
    assert one == other
    with pytest.raises(ConfigError, match="is there already"):
        gp.init(raw)


def test_a_recipe_among_the_raw_files_has_its_store_beside_them(tmp_path: Path) -> None:
    raw = beside_each_other(tmp_path / "theirs")
    path, guessed = gp.init(raw, raw / "recipe.yaml")
    assert guessed.recipe.raw == Path() and guessed.recipe.store == Path("../theirs.zarr")
    gp.run(path, workers=0)
    assert open_store(tmp_path / "theirs.zarr").contract.sources == 16
