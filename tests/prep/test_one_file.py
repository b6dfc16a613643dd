"""One pair that goes wrong, in whatever way, is one verdict: the collection goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from greenprep.build import read
from greenprep.build.run import run, tile
from greenprep.checks.verdict import crashed, failed
from greenprep.clean import pictures, worker
from greenprep.clean.clean import clean
from greenprep.clean.report import write_clean_report
from greenprep.raw.pairs import find_pairs
from greenprep.serve.paint import Painter
from greenschemas.errors import SourceError
from greenschemas.manifest import Summary, Verdict
from greenschemas.recipe import Recipe
from greenschemas.store import open_store
from support.raw import RECIPE, scene

BROKEN = "images/T/T_2020_1_1_GeoTIFF.tif"


def failing(opened):  # type: ignore[no-untyped-def]
    """`open_pair`, with a mistake of ours that one pair brings to light."""

    def open_pair(root, candidate, *rest):  # type: ignore[no-untyped-def]
        if candidate.image == BROKEN:
            raise ZeroDivisionError("two\nlines of text")
        return opened(root, candidate, *rest)

    return open_pair


def test_a_mistake_of_ours_is_a_verdict_with_its_class_and_text(collection, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(worker, "open_pair", failing(worker.open_pair))
    rules, raw = collection.plain, collection.raw
    found = find_pairs(raw, rules.pairing)
    entries = worker.clean_batch(raw, collection.folder / "out", rules.bands, rules.mask, rules.limits, found)
    broken = [entry for entry in entries if entry.verdict is Verdict.REJECTED]
    assert len(entries) == 9 and [entry.image for entry in broken] == [BROKEN]
    (reason,) = broken[0].reasons
    assert reason.code == "internal-error" and reason.found.startswith("ZeroDivisionError: two lines of text in ")
    assert "report" in reason.remedy and broken[0].stamp is None  # so that the next run tries it again
    assert not (collection.folder / "out" / BROKEN).exists()


def test_run_goes_on_too_and_tile_names_the_pair(collection, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    clean(collection.raw, collection.folder / "clean", collection.recipe(), workers=1)
    monkeypatch.setattr(read, "open_pair", failing(read.open_pair))
    outcome = run(collection.recipe(), workers=0)
    assert (outcome.summary.found, outcome.summary.rejected) == (9, 1)
    assert outcome.summary.reasons == {"internal-error": 1}
    assert BROKEN not in open_store(outcome.store).texts("path")
    with pytest.raises(SourceError, match=r"T_2020_1_1.*ZeroDivisionError: two lines"):
        tile(collection.folder / "clean", collection.folder / "other.zarr", workers=0)


@pytest.mark.parametrize("entry", [crashed, lambda *rest: failed(rest[0], ZeroDivisionError("x"), rest[2])])
def test_no_page_reads_a_pair_again_that_its_reader_died_or_failed_of(collection, monkeypatch, entry) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(pictures, "open_pair", failing(pictures.open_pair))
    rules = collection.plain
    (broken,) = [one for one in find_pairs(collection.raw, rules.pairing) if one.image == BROKEN]
    entries = [entry(broken, "stamp", rules.limits)]
    assert write_clean_report(collection.raw, collection.folder, rules, entries, Summary.of(entries, "hash")).is_file()
    assert Painter(collection.raw, collection.folder, rules).pictures(entries[0]) == {}


@pytest.mark.parametrize("crs", ["EPSG:4978", "EPSG:5703", 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_a_place_that_is_neither_on_a_globe_nor_on_a_map_has_no_size_in_metres(empty_collection, crs) -> None:  # type: ignore[no-untyped-def]
    for area in range(3):
        empty_collection.add(area, 1, crs=crs)
    outcome = run(empty_collection.recipe(), workers=0)
    assert outcome.summary.accepted == 3, outcome.summary.reasons


def test_a_folder_that_cannot_be_written_is_no_verdict_on_a_pair(collection, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def full(source: Path, target: Path) -> None:
        raise SourceError.unwritable(target, OSError(28, "No space left on device"))

    monkeypatch.setattr(worker, "link", full)
    rules, raw = collection.plain, collection.raw
    found = find_pairs(raw, rules.pairing)
    with pytest.raises(SourceError, match="Make room"):
        worker.clean_batch(raw, collection.folder / "out", rules.bands, rules.mask, rules.limits, found)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("layout", ["pixel", "band"])
def test_one_band_more_that_is_alpha_says_which_pixels_hold_anything(empty_collection, named, layout) -> None:  # type: ignore[no-untyped-def]
    image, fraction = scene(1, 40, 45)
    index = np.concatenate([fraction.argmax(axis=0)[None], np.full((1, 40, 45), 255)]).astype(np.uint8)
    image[4], index[1, 30:] = 255, 0
    image[4, :10] = 0
    empty_collection.write(1, 1, image, index, interleave=layout)
    for path in empty_collection.raw.rglob("*.tif"):
        with rasterio.open(path, "r+") as file:
            if named:
                file.set_band_description(file.count, "Alpha")
            else:
                file.colorinterp = [*[ColorInterp.gray] * (file.count - 1), ColorInterp.alpha]
            file.set_band_description(1, "blue")
    changes = {"bands": RECIPE["bands"][:4], "mask": {**RECIPE["mask"], "kind": "index"}}
    outcome = clean(empty_collection.raw, empty_collection.folder / "out", Recipe.model_validate(RECIPE | changes))
    (entry,) = outcome.entries
    assert entry.verdict is Verdict.ACCEPTED, entry.reasons
    assert (entry.measures["valid"], entry.measures["labelled"]) == (0.75, 0.75)
    store = open_store(
        run(empty_collection.recipe(**changes, split={"val": 0}, tile={"size": 32, "min_cover": 0}), workers=0).store
    )
    assert len(store.contract.bands) == 4 and int(store.read("valid").sum()) == 30 * 45
