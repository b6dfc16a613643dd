"""The commands that use a trained net: what they ask for, refuse and print."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from typer.testing import CliRunner

from greenschemas.errors import ConfigError, SourceError, StoreError
from greenschemas.limits import Limits
from greenschemas.recipe import MaskRules
from greenschemas.store import open_store
from greentrain.cli import app, main
from greentrain.config import load_config
from greentrain.data.targets import target_rule
from greentrain.maps.outputs import pair_up
from greentrain.maps.scores import score_map
from greentrain.training.fit import fit
from support.stores import write_tiny_store

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run of one epoch, and a scene of the store's bands with its mask."""
    path = tmp_path_factory.mktemp("cli")
    write_tiny_store(path / "s.zarr")
    config = load_config(None, ["model.preset=tiny", "epochs=1", "batch_size=4"])
    fit(open_store(path / "s.zarr"), path / "run", config)
    values = np.random.default_rng(0).normal(1000, 100, (3, 50, 70)).astype(np.uint16)
    where = {"crs": "EPSG:32618", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 4e6), "height": 50, "width": 70}
    with rasterio.open(path / "a.tif", "w", driver="GTiff", count=3, dtype="uint16", **where) as file:
        file.write(values)
    with rasterio.open(path / "mask.tif", "w", driver="GTiff", count=1, dtype="uint8", **where) as file:
        file.write(np.zeros((1, 50, 70), np.uint8))
    return path


def say(*words: object) -> str:
    """What a command prints; it must succeed."""
    result = runner.invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_predict_writes_map_picture_and_scores(folder: Path, tmp_path: Path) -> None:
    printed = say(
        "predict",
        folder / "run",
        folder / "a.tif",
        tmp_path / "m.tif",
        "--png",
        tmp_path / "m.png",
        "--labels",
        folder / "mask.tif",
        "--fractions",
        "--tta",
    )
    assert str(tmp_path / "m_fractions.tif") in printed and "always class0" in printed
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    with rasterio.open(tmp_path / "m.tif") as file:
        assert (file.shape, file.crs.to_epsg(), file.dtypes[0]) == ((50, 70), 32618, "uint8")


def test_predict_writes_polygons_of_one_scene_or_of_many(folder: Path, tmp_path: Path) -> None:
    say("predict", folder / "run", folder / "a.tif", tmp_path / "m.tif", "--polygons", tmp_path / "p.gpkg")
    say("predict", folder / "run", folder / "a.tif", "--out", tmp_path / "maps", "--polygons", tmp_path / "of_many")
    found = [pyogrio.raw.read(path) for path in (tmp_path / "p.gpkg", tmp_path / "of_many" / "a_map.gpkg")]
    assert [sum(columns[1]) for _, _, _, columns in found] == pytest.approx([35.0, 35.0]), "hectares of 50 x 70 pixels"


def test_predict_takes_several_runs_of_the_same_classes(folder: Path, tmp_path: Path) -> None:
    how = ("--out", tmp_path, "--fractions", "--confidence", "--force")
    say("predict", folder / "run", folder / "a.tif", *how, "--ensemble", folder / "run")
    with rasterio.open(tmp_path / "a_map_confidence.tif") as file:
        assert file.descriptions == ("confidence", "entropy", "spread")
        np.testing.assert_allclose(file.read(3), 0, atol=1e-6)
    config = load_config(None, ["model.preset=tiny", "epochs=1", "target=class1", "bands=B2"])
    fit(open_store(folder / "s.zarr"), tmp_path / "other", config)
    words = [
        str(word) for word in ("predict", folder / "run", folder / "a.tif", *how, "--ensemble", tmp_path / "other")
    ]
    with pytest.raises(ConfigError, match=r"--ensemble: classes other, class1, the first run has class0.*Give runs on"):
        runner.invoke(app, words, catch_exceptions=False)


def test_predict_takes_many_scenes_into_a_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("x.tif", "y.tif"):
        (tmp_path / "in" / name).write_bytes((folder / "a.tif").read_bytes())
    found = json.loads(
        say(
            "predict", folder / "run", tmp_path / "in", "--out", tmp_path / "maps", "--png", tmp_path / "maps", "--json"
        )
    )
    assert [Path(one["maps"][-1]).name for one in found] == ["x_map.tif", "y_map.tif"]
    assert (tmp_path / "maps" / "x_map.png").exists()


ODD = [
    b"a b",
    b"a'b\"c",
    b"a\nb",
    "\u00e4\u65e5".encode(),
    b"<script>",
    b"-rf",
    b"%s{0}",
    b"\x1b[31m",
    b"a\\b",
    b" ",
    b"$(e)`f`",
]


def test_scenes_of_any_name_are_mapped_but_those_that_cannot_be_opened_or_named(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in (*ODD, b"bad\xff", b"x" * 251):
        with open(os.fsencode(tmp_path / "in") + b"/" + name + b".tif", "wb") as file:
            file.write((folder / "a.tif").read_bytes())
    words = ["predict", folder / "run", tmp_path / "in", "--out", tmp_path / "maps", "--json"]
    result = runner.invoke(app, [str(word) for word in words])
    assert isinstance(result.exception, SourceError) and "2 of 13 scenes have no map" in str(result.exception)
    refused = [one["error"] for one in json.loads(result.stdout) if not one["maps"]]
    assert "its name is not UTF-8" in refused[0] and "would have 259 bytes" in refused[1]
    due = [name + b"_map" + suffix for name in ODD for suffix in (b".tif", b".qml", b".stac.json")]
    assert sorted(os.listdir(os.fsencode(tmp_path / "maps"))) == sorted(due)
    assert "\x1b" not in capfd.readouterr().err


@pytest.mark.parametrize("words", [["b\udcff.tif", "m.tif"], ["b.tif", "m\udcff.tif"]])
def test_a_command_line_that_is_no_text_is_refused_by_name(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["greentrain", "predict", "run", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "\\xff.tif: a name that is not UTF-8. Rename it." in capsys.readouterr().err


def test_one_bad_scene_does_not_end_the_others_and_subfolders_are_searched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.tif").write_text("<html>")
    (tmp_path / "in" / "deep" / "b.tif").write_bytes((folder / "a.tif").read_bytes())
    words = ["predict", folder / "run", tmp_path / "in", "--out", tmp_path / "in", "--json"]
    result = runner.invoke(app, [str(word) for word in words])
    assert isinstance(result.exception, SourceError) and "1 of 2 scenes have no map" in str(result.exception)
    bad, good = json.loads(result.stdout)
    assert "not a GeoTIFF" in bad["error"] and good["maps"] == [str(tmp_path / "in" / "deep" / "b_map.tif")]
    (tmp_path / "in" / "a.tif").unlink()
    assert len(json.loads(say(*words))) == 1, "our own map is no scene"


def test_no_output_replaces_an_input_or_what_is_not_ours(folder: Path, tmp_path: Path) -> None:
    a, fractions, own = tmp_path / "b_fractions.tif", tmp_path / "e" / "a_map.tif", tmp_path / "e" / "a.tif"
    own.parent.mkdir()
    for path in (a, fractions, own):
        path.write_bytes((folder / "a.tif").read_bytes())
    before = a.read_bytes()
    cases = [
        ([a, tmp_path / "b.tif", "--fractions"], "would replace the input"),
        ([own.parent, "--out", own.parent], "would replace the input"),
        ([own, fractions], "no map of ours"),
        ([own, tmp_path / "m.tif", "--labels", tmp_path / "m.tif"], "would replace the input"),
        ([own, tmp_path / "m.tif", "--png", fractions], "no picture of ours"),
        ([own, tmp_path / "m.tif", "--png", tmp_path / "m.tif", "--overwrite"], "another output of the same call"),
    ]
    for words, message in cases:
        result = runner.invoke(app, ["predict", str(folder / "run"), *(str(word) for word in words)])
        assert isinstance(result.exception, ConfigError) and message in str(result.exception)
    assert {path.read_bytes() for path in (a, fractions, own)} == {before}
    for _ in range(2):  # What is ours is replaced without asking.
        say("predict", folder / "run", own, fractions, "--png", tmp_path / "m.png", "--overwrite")
        say("predict", folder / "run", own, fractions, "--png", tmp_path / "m.png", "--tta")


def test_another_scenes_map_is_replaced_only_when_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.tif").write_bytes((folder / "a.tif").read_bytes())
    say("predict", folder / "run", folder / "a.tif", tmp_path / "m.tif")
    words = ["predict", str(folder / "run"), str(tmp_path / "other.tif"), str(tmp_path / "m.tif")]
    result = runner.invoke(app, words)
    assert isinstance(result.exception, ConfigError) and "a map of another run or scene" in str(result.exception)
    say(*words, "--overwrite")


def test_labels_leave_out_the_recipes_unlabelled_value(folder: Path, tmp_path: Path) -> None:
    say("predict", folder / "run", folder / "a.tif", tmp_path / "m.tif")
    mask = np.zeros((50, 70), np.uint8)
    mask[:10] = 2
    with rasterio.open(folder / "mask.tif") as file, rasterio.open(tmp_path / "l.tif", "w", **file.profile) as out:
        out.write(mask, 1)
    rule = target_rule("fractions", ("class0", "class1", "class2"))
    for value, counted in ((None, 3500), (2, 2800)):
        found = score_map(
            tmp_path / "m.tif", tmp_path / "l.tif", rule, MaskRules(classes=rule.classes, unlabelled=value), Limits()
        )
        assert np.array(found["confusion"]).sum() == counted


def test_area_prints_a_table_and_json(folder: Path, tmp_path: Path) -> None:
    say("predict", folder / "run", folder / "a.tif", tmp_path / "m.tif")
    assert "hectares" in say("area", tmp_path / "m.tif")
    found = json.loads(say("area", tmp_path / "m.tif", "--json"))
    assert found["hectares"] == pytest.approx(35.0) and set(found["classes"]) == {"class0", "class1", "class2"}


def test_errors_writes_the_page_beside_the_run(folder: Path) -> None:
    found = json.loads(say("errors", folder / "run", "--json"))
    assert found["tiles"] == 8 and (folder / "run" / "errors" / "errors.html").exists()


def test_what_cannot_be_paired_is_refused(tmp_path: Path) -> None:
    scene = tmp_path / "s.tif"
    cases: list[tuple[list[Path], Path | None, str]] = [
        ([scene], None, "1 files"),
        ([scene, scene], None, "would replace the scene"),
        ([tmp_path], tmp_path, "no .tif"),
        ([scene, tmp_path / "x" / "s.tif"], tmp_path, "two scenes of one name"),
    ]
    for files, out, message in cases:
        with pytest.raises(ConfigError, match=message):
            pair_up(files, out)
    assert pair_up([scene], tmp_path / "o") == [(scene, tmp_path / "o" / "s_map.tif")]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--device", "cuda:99"], "--device"), (["--checkpoint", "newest"], "no checkpoint `newest`")],
)
def test_a_device_or_checkpoint_that_is_not_there_is_refused(
    folder: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        runner.invoke(
            app,
            ["predict", str(folder / "run"), str(folder / "a.tif"), str(tmp_path / "m.tif"), *words],
            catch_exceptions=False,
        )


@pytest.mark.parametrize("command", ["predict", "area", "compare", "errors"])
def test_every_command_shows_an_example(command: str) -> None:
    assert f"greentrain {command}" in say(command, "--help")


@pytest.mark.parametrize("words", [["errors"], ["evaluate"]])
def test_a_store_that_moved_is_asked_for_by_its_option(folder: Path, tmp_path: Path, words: list[str]) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(record | {"store": str(tmp_path / "gone.zarr")}))
    from greentrain.cli import app as whole

    with pytest.raises(StoreError, match="Give its new place by `--store`"):
        runner.invoke(whole, [*words, str(tmp_path / "run")], catch_exceptions=False)
    store = ["--store", str(folder / "s.zarr")]
    assert runner.invoke(whole, [*words, str(tmp_path / "run"), *store]).exit_code == 0


def test_validation_tiles_give_a_first_look_and_say_what_it_is_not(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "m.tif"
    say("predict", folder / "run", folder / "a.tif", made, "--force", "--fractions")
    printed = say("area", made, "--reference", folder / "run", "--html", tmp_path / "page.html")
    assert '<p class="bad">NOT FOR PUBLICATION' in (tmp_path / "page.html").read_text()
    assert "NOT FOR PUBLICATION: the 2 groups of validation tiles" in printed and "no probability sample" in printed
    found = json.loads(say("area", made, "--reference", folder / "run", "--json"))["estimate"]
    counts = np.array(found["counts"])
    assert found["groups"] == 2 and counts.sum() == 4 * 30 * 32, "two tiles of two groups, less two rows of each"
    rows = counts / counts.sum(1, keepdims=True)
    mapped = np.array([row["mapped_hectares"] for row in found["classes"].values()])
    due = (mapped[mapped > 0, None] * rows[mapped > 0]).sum(0)
    np.testing.assert_allclose([row["hectares"]["value"] for row in found["classes"].values()], due)
    for words, says in (
        ([tmp_path / "m_fractions.tif", "--reference", folder / "run"], "is a map of fractions"),
        ([folder / "mask.tif", "--reference", folder / "run"], "has other classes than"),
    ):
        with pytest.raises(ConfigError, match=says):
            runner.invoke(app, ["area", *(str(word) for word in words)], catch_exceptions=False)
