"""`greenprep clean` as a whole: on a synthetic city with every defect and dress, resumed, killed, and refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from greenprep.clean.clean import clean, reject_repairs
from greenprep.cli.clean import app
from greenprep.synth.city import Truth, write_city
from greenschemas.codes import REPAIRS, Code
from greenschemas.errors import ConfigError
from greenschemas.manifest import Entry, Summary, Verdict, read_manifest
from greenschemas.recipe import Recipe

NAMED = {
    "twelve_bands": "band-count",
    "four_class_mask": "mask-band-count",
    "nan_image": "nan",
    "nan_mask": "mask-nan",
    "black_image": "blank",
    "almost_empty_image": "low-content",
    "empty_mask": "mask-empty",
    "noise": "noise",
    "constant_image": "constant-image",
    "dead_band": "constant-band",
    "repeated_band": "identical-bands",
    "saturated": "saturated",
    "wrapped": "wrapped-8-bit",
    "scaled_to_one": "reflectance-scale",
    "short_mask": "size-mismatch",
    "sums_to_two": "mask-sum",
    "moved_mask": "transform-mismatch",
    "other_crs": "crs-mismatch",
    "missing_mask": "missing-mask",
    "truncated": "truncated",
    "no_bytes": "empty-file",
    "html_page": "not-a-tiff",
    "git_lfs_pointer": "not-a-tiff",
    "duplicate": "duplicate-content",
}
"""Planted defect: the code that names it."""
DRESSED = {
    "term_ending": None,
    "paged": "paged-bands",
    "channel_last": "channel-last",
    "as_uint32": "integer-values",
    "as_float64": "integer-values",
    "percent_mask": "mask-scale",
    "south_up": "south-up",
    "one_row_less": "cropped-edge",
    "tiled": None,
    "bigtiff": None,
}
"""Dress of good data: the repair that sees through it, or None where nothing is needed."""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Truth]]:
    raw = tmp_path_factory.mktemp("city") / "raw"
    return raw, write_city(raw, areas=3, times=2, size=64, seed=1, defects=True)


@pytest.fixture(scope="module")
def cleaned(city: tuple[Path, dict[str, Truth]]) -> tuple[Path, dict[str | None, Entry], Summary]:
    out = city[0].parent / "cleaned"
    entries, summary = clean(city[0], out, Recipe(), workers=2)
    return out, {entry.image: entry for entry in entries}, summary


def test_every_defect_is_rejected_or_mended_with_the_code_that_names_it(city, cleaned) -> None:  # type: ignore[no-untyped-def]
    truth, entries = city[1], cleaned[1]
    assert {one["defect"] for one in truth.values()} - {None} == NAMED.keys()
    for image, one in truth.items():
        if one["defect"]:
            entry = entries[image]
            assert entry.verdict is not Verdict.ACCEPTED, one["defect"]
            assert NAMED[one["defect"]] in {reason.code for reason in entry.reasons}, one["defect"]


def test_good_pairs_are_accepted_and_dresses_seen_through(city, cleaned) -> None:  # type: ignore[no-untyped-def]
    truth, entries = city[1], cleaned[1]
    assert {one["dress"] for one in truth.values()} - {None} == DRESSED.keys()
    for image, one in truth.items():
        if not one["defect"]:
            repair = DRESSED[one["dress"]] if one["dress"] else None
            due = Verdict.REPAIRED if repair else Verdict.ACCEPTED
            assert entries[image].verdict is due, (one, entries[image].reasons)
            assert repair is None or repair in {reason.code for reason in entries[image].reasons}


def test_the_summary_adds_up_and_says_what_the_manifest_says(cleaned) -> None:  # type: ignore[no-untyped-def]
    out, entries, summary = cleaned
    assert summary.found == len(entries) == summary.accepted + summary.repaired + summary.rejected
    assert {entry.image: entry for entry in read_manifest(out)} == entries
    assert Summary.parse("summary", json.loads((out / "summary.json").read_text())) == summary


def test_cleaning_what_was_cleaned_accepts_all_and_reads_the_same_pixels(cleaned, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out, entries, _ = cleaned
    again, summary = clean(out, tmp_path / "again", Recipe(), workers=1)
    assert summary.accepted == summary.found
    assert {entry.image: entry.checksum for entry in again} == {
        name: entry.checksum for name, entry in entries.items() if entry.verdict is not Verdict.REJECTED
    }


def test_files_that_need_no_mending_are_the_same_file_and_raw_is_untouched(city, cleaned) -> None:  # type: ignore[no-untyped-def]
    raw, (out, entries, _) = city[0], cleaned
    for name, entry in entries.items():
        if name and entry.verdict is Verdict.ACCEPTED:
            assert (out / name).samefile(raw / name)
        if name and entry.verdict is Verdict.REJECTED:
            assert not (out / name).exists()
            assert (raw / name).exists()


def test_a_second_run_reads_only_what_changed(city, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=3, times=1, size=48, seed=5, defects=False)
    first, _ = clean(raw, out, Recipe(), workers=1)
    seen: list[int] = []
    again, _ = clean(raw, out, Recipe(), workers=1, tick=lambda done, of: seen.append(done))
    assert again == first
    assert seen == []
    spoilt = raw / (first[1].image or "")
    spoilt.write_bytes(b"")
    third, summary = clean(raw, out, Recipe(), workers=1, tick=lambda done, of: seen.append(done))
    assert seen == [3]
    assert summary.rejected == 1
    assert not (out / (first[1].image or "")).exists()
    assert third[0] == first[0]


def test_another_recipe_or_verify_reads_everything_again(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=2, times=1, size=48, seed=5, defects=False)
    clean(raw, out, Recipe(), workers=1)
    seen: list[int] = []
    clean(raw, out, Recipe(), workers=1, verify=True, tick=lambda done, of: seen.append(done))
    clean(raw, out, reject_repairs(Recipe()), workers=1, tick=lambda done, of: seen.append(done))
    assert seen[-1] == 2
    assert len(seen) >= 2


def test_a_killed_run_goes_on_from_its_journal(tmp_path: Path) -> None:
    raw, out, whole = tmp_path / "raw", tmp_path / "out", tmp_path / "whole"
    write_city(raw, areas=4, times=1, size=48, seed=6, defects=False)
    expected, _ = clean(raw, whole, Recipe(), workers=1)
    clean(raw, out, Recipe(), workers=1)
    # As a kill leaves it: no manifest, two whole lines in the journal and half of a third.
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.part").write_text("".join(lines[:2]) + lines[2][:40])
    for name in ("manifest.jsonl", "summary.json"):
        (out / name).unlink()
    seen: list[int] = []
    entries, _ = clean(raw, out, Recipe(), workers=1, tick=lambda done, of: seen.append(done))
    assert entries == expected
    assert seen[-1] == 4
    assert (out / "manifest.jsonl").read_bytes() == (whole / "manifest.jsonl").read_bytes()
    assert not (out / "manifest.part").exists()


def test_a_limit_looks_at_the_first_pairs_and_a_later_run_at_the_rest(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=4, times=1, size=48, seed=8, defects=False)
    _, few = clean(raw, out, Recipe(), workers=1, limit=2)
    seen: list[int] = []
    _, all_of_them = clean(raw, out, Recipe(), workers=1, tick=lambda done, of: seen.append(done))
    _, again = clean(raw, out, Recipe(), workers=1, limit=1)
    assert (few.found, all_of_them.found, again.found) == (2, 4, 4)
    assert seen[0] > 2


def test_no_repair_rejects_what_would_be_mended(city, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    entries, summary = clean(city[0], tmp_path / "out", reject_repairs(Recipe()), workers=2, dry_run=True)
    assert summary.repaired == 0
    assert not (tmp_path / "out").exists()
    rejected = [entry for entry in entries if entry.verdict is Verdict.REJECTED]
    assert {Code.PAGED, Code.MASK_SCALE} <= {reason.code for entry in rejected for reason in entry.reasons}


def test_a_recipe_cannot_look_away_from_a_repair() -> None:
    assert all(level == "reject" for level in reject_repairs(Recipe()).limits.levels.values())
    assert reject_repairs(Recipe()).limits.levels.keys() == REPAIRS


@pytest.mark.parametrize("place", ["raw", "raw/inside", "."])
def test_out_in_or_around_raw_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "raw" / "images").mkdir(parents=True)
    with pytest.raises(ConfigError, match="raw files are never touched"):
        clean(tmp_path / "raw", tmp_path / place, Recipe(), workers=1)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw" / "images").mkdir(parents=True)
    (tmp_path / "raw" / "images" / "a.tif").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        clean(tmp_path / "raw", tmp_path / "out", Recipe(), workers=1)


def test_a_raw_folder_without_a_tiff_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        clean(tmp_path / "nothing", tmp_path / "out", Recipe(), workers=1)
    (tmp_path / "raw").mkdir()
    with pytest.raises(ConfigError, match="no TIFF in it"):
        clean(tmp_path / "raw", tmp_path / "out", Recipe(), workers=1)


def test_a_duplicate_whose_original_went_away_is_written_after_all(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=2, times=1, size=48, seed=7, defects=False)
    images = sorted((raw / "images").rglob("*.tif"))
    shutil.copy(images[0], images[1])
    _, summary = clean(raw, out, Recipe(), workers=1)
    # Of another size than its mask, or equal pixels: either way the second is not accepted beside the first.
    assert summary.rejected == 1
    assert summary.accepted == 1


def test_the_command_prints_the_summary_and_strict_exits_with_one(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_city(raw, areas=2, times=1, size=48, seed=9, defects=False)
    arguments = ["clean", str(raw), str(out), "--workers", "1", "--strict"]
    first = CliRunner().invoke(app, [*arguments, "--json"])
    assert (first.exit_code, json.loads(first.stdout)["accepted"]) == (0, 2)
    assert (out / "report.html").is_file() and (out / "recipe.yaml").is_file()
    (raw / "images" / "lost.tif").write_bytes(b"")
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 1
    assert "3 found = 2 accepted + 0 repaired + 1 rejected" in second.stdout


def test_pixels_of_a_dressed_pair_equal_the_plain_ones(tmp_path: Path) -> None:
    from greenprep.synth.defects import ENCODINGS, Raw, write_raw

    rng = np.random.default_rng(2)
    from greenprep.synth.city import acquire, ground

    fractions = ground(rng, 48)
    raw = Raw(acquire(rng, fractions, winter=False), fractions, (400_000, 4_080_000))
    for area, kind in enumerate([None, *ENCODINGS]):
        stem = f"C_2020_{area}_1_GeoTIFF"
        write_raw(
            tmp_path / f"raw/images/C/{stem}.tif",
            tmp_path / f"raw/masks/C_masks/{stem}_fractional_mask.tif",
            raw,
            kind,
            rng,
            raw,
        )
    levels = {Code.DUPLICATE: "warn"}
    recipe = Recipe.model_validate({"limits": {"levels": levels}})
    entries, _ = clean(tmp_path / "raw", tmp_path / "out", recipe, workers=2)
    read = partial(_read, tmp_path / "out")
    plain = read("images/C/C_2020_0_1_GeoTIFF.tif"), read("masks/C_masks/C_2020_0_1_GeoTIFF_fractional_mask.tif")
    for entry in entries:
        assert entry.image and entry.mask
        rows = read(entry.image).shape[1]
        np.testing.assert_array_equal(read(entry.image), plain[0][:, :rows])
        np.testing.assert_array_equal(read(entry.mask), plain[1][:, :rows])


def _read(out: Path, name: str) -> np.ndarray:  # type: ignore[type-arg]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(out / name) as source:
            return source.read()


def test_a_script_that_no_process_can_load_is_told_so_instead_of_rejecting_all(tmp_path: Path) -> None:
    script = (
        "from greenprep.engine.pool import run_batches\n"
        "run_batches(len, [1], workers=1, batch=1, dead=str, preload='greenprep.raw.pairs').__next__()\n"
    )
    done = subprocess.run(
        [sys.executable, "-"],
        input=script,
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert "cannot load the script that starts them" in done.stderr
