"""`greenprep init`: strangers' folders to a store with no edit, and the guesses by themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import greenprep as gp
from greenprep.cli import app
from greenprep.init.ask import with_answers
from greenprep.init.bands import guess_bands, guess_scale
from greenprep.init.facts import FileFacts, tell_apart
from greenprep.init.guess import guess
from greenprep.init.labels import guess_labels
from greenprep.init.look import look, tiff_names
from greenprep.init.names import guess_group, guess_patterns
from greenprep.init.write import guess_folder, recipe_text
from greenprep.raw.pairs import pair_names
from greenschemas.bands import Role
from greenschemas.errors import ConfigError, SourceError
from greenschemas.recipe import Pairing, load_recipe
from support.strangers import beside_each_other, embeddings, palette_chips, worldcover

EXPECTED = {
    beside_each_other: {
        "images": "{site}_{date}.tif",
        "masks": "{site}_{date}_label.tif",
        "group": "{site}",
        "time": "{date}",
        "classes": {i: f"class_{i}" for i in range(1, 6)},
        "unlabelled": 0,
        "scale": 10_000,
        "pairs": 16,
        "groups": 8,
    },
    palette_chips: {
        "images": "train/chip_{chip}.tif",
        "masks": "labels/chip_{chip}.tif",
        "group": "{chip}",
        "time": "",
        "classes": {0: "class_0", 1: "class_1", 2: "class_2"},
        "unlabelled": None,
        "scale": 255,
        "pairs": 12,
        "groups": 12,
    },
    worldcover: {
        "images": "scenes/{place}/S2_{place}_{part}_L2A.tif",
        "masks": "worldcover/{place}/{place}_{part}_wc.tif",
        "classes": {10: "trees", 30: "grass", 50: "built_up", 80: "water"},
        "unlabelled": None,
        "scale": 10_000,
        "pairs": 9,
        "groups": 9,
    },
    embeddings: {
        "images": "{place}/embeddings/{part}.tif",
        "masks": "{place}/gt/{part}.tif",
        "classes": {0: "other", 255: "class_255"},
        "unlabelled": None,
        "scale": None,
        "pairs": 10,
        "groups": 10,
    },
}


@pytest.mark.parametrize("stranger", EXPECTED, ids=lambda made: made.__name__)
def test_a_strangers_folder_becomes_a_store_with_no_edit(stranger, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    due = EXPECTED[stranger]
    raw = stranger(tmp_path / "raw")
    before = sorted(path for path in tmp_path.rglob("*"))
    done = CliRunner().invoke(app, ["init", str(raw), "--yes", "--out", "mine.yaml"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert sorted(path for path in tmp_path.rglob("*")) == sorted([*before, tmp_path / "mine.yaml"])
    recipe = load_recipe("mine.yaml")
    found = {key: getattr(recipe.pairing, key) for key in ("images", "masks", "group", "time")}
    found |= {"classes": recipe.mask.classes, "unlabelled": recipe.mask.unlabelled}
    for key in found.keys() & due.keys():
        assert found[key] == due[key], key
    assert recipe.limits.reflectance_scale == due["scale"]

    _, summary = gp.clean(raw, "clean", "mine.yaml", workers=1)
    assert (summary.accepted, summary.found) == (due["pairs"], due["pairs"]), summary
    contract = gp.tile("clean", "s.zarr", workers=0).contract
    assert (contract.sources, contract.groups, contract.classes) == (due["pairs"], due["groups"], recipe.mask.names)
    dealt, audit = gp.split("s.zarr")
    assert audit.passed and dealt.split is not None and dealt.split.groups.keys() >= {"train", "val"}


def test_a_palette_that_gives_0_a_colour_makes_it_a_class() -> None:
    seen = {"values": codes(c0=3, c1=3, c2=3, c3=3)}
    assert guess_labels([facts("m/a.tif", **seen)])[0].unlabelled == 0
    rules, said = guess_labels([facts("m/a.tif", **seen, zero_coloured=True)])
    assert rules.unlabelled is None and len(rules.names) == 4 and "COULD NOT TELL" not in said["unlabelled"]


def test_spaces_in_names_part_them_as_underscores_do() -> None:
    images = [f"img/row {row} 2020-0{month}-01.tif" for row in (7, 8) for month in (4, 7)]
    masks = [one.replace("img/", "lab/").replace(".tif", " mask.tif") for one in images]
    assert guess_patterns(images, masks) == ("img/row {row} {date}.tif", "lab/row {row} {date} mask.tif")
    cities = [f"img/{city}_{year}.tif" for city in ("New York", "Rome", "San Jose") for year in (2019, 2020)]
    assert guess_patterns(cities, [one.replace("img/", "m/") for one in cities]) == (
        "img/{place}_{year}.tif",
        "m/{place}_{year}.tif",
    )


def facts(path: str, bands: int = 1, dtype: str = "uint8", **known) -> FileFacts:
    return FileFacts(**{"path": path, "bands": bands, "dtype": dtype, "height": 64, "width": 64} | known)


def codes(**counts: int) -> tuple[tuple[float, int], ...]:
    return tuple((float(key.removeprefix("c")), count) for key, count in counts.items())


@given(
    st.lists(st.tuples(st.integers(1, 999), st.dates()), min_size=3, max_size=20, unique=True).filter(
        lambda keys: len({site for site, _ in keys}) > 1 and len({day for _, day in keys}) > 1
    ),
    st.sampled_from(["", "images/", "a/b/"]),
    st.sampled_from(["", "masks/", "lab/x/"]),
    st.sampled_from(["_label", "_mask_v2", "-gt"]),
)
def test_patterns_find_every_pair_that_they_were_made_of(keys, of_images, of_masks, ending) -> None:
    stems = [f"site{site}_{day:%Y%m%d}" for site, day in keys]
    images = sorted(f"{of_images}{stem}.tif" for stem in stems)
    masks = sorted(f"{of_masks}{stem}{ending}.tif" for stem in stems)
    patterns = guess_patterns(images, masks)
    assert patterns is not None
    pairing = Pairing.model_validate({"images": patterns[0], "masks": patterns[1], "group": ""})
    everything = [*images, *masks]
    found = pair_names(everything, everything, [], pairing)
    assert [one.problem for one in found] == [None] * len(keys)
    assert all(one.mask == f"{of_masks}{Path(one.image or '').stem}{ending}.tif" for one in found)


def test_cities_with_underscores_and_one_mask_for_several_dates() -> None:
    images = [f"img/{city}/{city}_{i}.tif" for city in ("ST_LOUIS", "BERN", "NEW_YORK") for i in (1, 2)]
    masks = [f"lab/{city}_mask.tif" for city in ("ST_LOUIS", "BERN", "NEW_YORK")]
    patterns = guess_patterns(images, masks)
    assert patterns is None or "{" in patterns[1]


def test_the_group_is_what_lies_on_one_grid_or_what_names_share() -> None:
    names = [f"{place}_{shot}.tif" for place in "abcdef" for shot in (1, 2)]
    found = {name: {"place": name[0], "shot": name[2]} for name in names}
    unplaced = [facts(name, 4) for name in names]
    group, why = guess_group(("place", "shot"), found, unplaced)
    assert group == ("place",) and "COULD NOT TELL" in why
    by_place = [facts(name, 4, place=("EPSG:32632", (10.0, 0.0, ord(name[0]), 0.0, -10.0, 0.0))) for name in names]
    group, why = guess_group(("place", "shot"), found, by_place)
    assert group == ("place",) and "12 images lie on the grid of another one, and differ in shot" in why
    dated = {name: {"date": name[2], "place": name[0]} for name in names}
    assert guess_group(("date", "place"), dated, unplaced)[0] == ("place",)
    assert guess_group(("shot",), {name: {"shot": name[2]} for name in names}, unplaced)[0] == ("shot",)


def test_the_users_own_layout_keeps_its_own_names() -> None:
    some = [f"images/C/C_2020_{i}_{j}_GeoTIFF" for i in range(3) for j in (1, 2)]
    images = [facts(f"{one}.tif", 4) for one in some]
    stems = [one.replace("images/C", "masks/C_masks") for one in some]
    masks = [facts(f"{one}_mask.tif", values=codes(c0=1, c1=1)) for one in stems]
    guessed = guess("raw", [one.path for one in (*images, *masks)], [*images, *masks])
    assert guessed.recipe.pairing == Pairing() and "pairing.images" not in guessed.unsure


@pytest.mark.parametrize(
    ("values", "nodata", "classes", "unlabelled"),
    [
        (codes(c0=50, c1=30, c2=20), None, {0: "class_0", 1: "class_1", 2: "class_2"}, None),
        (codes(c0=5, c1=30, c2=20, c3=9), None, {1: "class_1", 2: "class_2", 3: "class_3"}, 0),
        (codes(c0=500, c1=30, c2=20, c3=9), None, {i: f"class_{i}" for i in range(4)}, None),
        (codes(c0=5, c1=30, c2=20, c255=9), None, {0: "class_0", 1: "class_1", 2: "class_2"}, 255),
        (codes(c0=5, c1=30, c2=20), 0.0, {1: "class_1", 2: "class_2"}, None),
        (codes(c0=5, c10=30, c80=20), None, {10: "trees", 80: "water"}, 0),
        (codes(c0=90, c255=10), None, {0: "other", 255: "class_255"}, None),
        (codes(c7=90), None, {1: "class_1", 7: "class_7"}, None),
    ],
)
def test_codes_and_the_value_without_label(values, nodata, classes, unlabelled) -> None:
    rules, said = guess_labels([facts("m.tif", values=values, nodata=nodata)])
    assert (rules.classes, rules.unlabelled) == (classes, unlabelled)
    assert all(f"{value:g} in" in said["classes"] for value, _ in values)


@pytest.mark.parametrize(
    ("whole", "values", "kind"),
    [
        (1.0, None, "fraction"),
        (100.0, None, "percent"),
        (100.0, codes(c0=2, c100=1), "percent"),
        (1.0, codes(c0=3, c1=1), "one_hot"),
    ],
)
def test_bands_that_sum_to_one_number_are_shares_of_classes(whole, values, kind) -> None:
    rules, _ = guess_labels([facts("m.tif", 3, "float32", whole=whole, values=values, names=("a", "b", "c"))])
    assert (rules.kind, rules.classes) == (kind, ("a", "b", "c"))


def test_files_alike_are_all_images_or_all_masks() -> None:
    several = [
        facts("a.tif", 4),
        facts("b.tif", 4),
        facts("a_mask.tif", values=codes(c0=1, c1=1)),
        facts("b_mask.tif", values=codes(c1=2)),
        facts("a_pan.tif", 1),
    ]
    images, masks = tell_apart(several)
    assert [one.path for one in masks] == ["a_mask.tif", "b_mask.tif"] and len(images) == 3


@pytest.mark.parametrize(
    ("names", "dtype", "common", "roles"),
    [
        (("B02", "B03", "B04", "B08", "QA60"), "uint16", ("blue", "green", "red", "nir", None), "rrrrm"),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), "uint16", ("blue", "green", "red", "nir08"), "rrrr"),
        (("red", "nir", "ndvi", "cop_dem"), "float32", ("red", "nir", None, None), "rrde"),
        ((None,) * 4, "uint8", ("red", "green", "blue", "nir"), "rrrr"),
        ((None,) * 4, "uint16", ("blue", "green", "red", "nir"), "rrrr"),
        ((None,) * 64, "float64", (None,) * 64, "n" * 64),
        (("Band 1", "Band 2", "Band 3"), "uint8", ("red", "green", "blue"), "rrr"),
        ((None,) * 5, "uint16", (None,) * 5, "rrrrr"),
    ],
)
def test_bands_come_from_descriptions_or_from_known_layouts(names, dtype, common, roles) -> None:
    bands, said = guess_bands([facts("a.tif", len(names), dtype, names=names)])
    assert tuple(band.common for band in bands) == common
    assert [band.role for band in bands] == [
        {"r": Role.REFLECTANCE, "m": Role.MASK, "d": Role.DERIVED, "e": Role.ELEVATION, "n": Role.EMBEDDING}[letter]
        for letter in roles
    ]
    assert ("COULD NOT TELL" in said) == (names[0] in (None, "Band 1"))


@pytest.mark.parametrize(
    ("dtype", "high", "scale"),
    [
        ("uint8", 200, 255),
        ("uint16", 4000, 10_000),
        ("float32", 0.6, 1),
        ("float32", 60_000, None),
        ("int16", 40, None),
    ],
)
def test_the_scale_comes_from_type_and_values(dtype, high, scale) -> None:
    one = facts("a.tif", 4, dtype, high=high)
    assert guess_scale([one], guess_bands([one])[0])[0] == scale


def test_a_folder_that_cannot_be_told_is_said_to_be_one() -> None:
    with pytest.raises(SourceError, match="2 TIFFs, of which 2 of 2 looked at are images and 0 masks"):
        guess("raw", ["a.tif", "b.tif"], [facts("a.tif", 4), facts("b.tif", 4)])
    with pytest.raises(SourceError, match="which mask belongs to which image"):
        guess("raw", ["x.tif", "q.tif"], [facts("x.tif", 4), facts("q.tif", values=codes(c0=1, c1=1))])


def test_answers_take_the_place_of_guesses(tmp_path: Path) -> None:
    raw = palette_chips(tmp_path / "raw")
    seen = [replace(one, zero_coloured=False) for one in look(raw, tiff_names(raw))]  # as without a palette
    guessed = guess(str(raw), [one.path for one in seen], seen)
    asked: list[str] = []

    def prompt(question: str, answer: str) -> str:
        asked.append(question)
        return {"Code that means no label, or none": "0", "Class of code 2": "water"}.get(question, answer)

    answered = with_answers(guessed, prompt)
    assert len(asked) == 5 and not answered.unsure
    assert answered.recipe.mask.classes == {1: "class_1", 2: "water"} and answered.recipe.mask.unlabelled == 0
    assert answered.recipe.bands == guessed.recipe.bands
    (tmp_path / "r.yaml").write_text(recipe_text(tmp_path / "raw", answered), encoding="utf-8")
    assert load_recipe(tmp_path / "r.yaml") == answered.recipe


def test_init_overwrites_nothing_and_names_what_is_missing(tmp_path: Path) -> None:
    raw = palette_chips(tmp_path / "raw")
    (tmp_path / "r.yaml").write_text("")
    for folder, out, says in ((raw, "r.yaml", "is there already"), (tmp_path / "none", "s.yaml", "no such folder")):
        done = CliRunner().invoke(app, ["init", str(folder), "--yes", "--out", str(tmp_path / out)])
        assert says in str(done.exception)


def test_clean_without_a_recipe_says_that_the_folder_wants_one(tmp_path: Path) -> None:
    raw = palette_chips(tmp_path / "raw")
    with pytest.raises(ConfigError, match=r"none of the 24 files fit the default recipe .*greenprep init"):
        gp.clean(raw, tmp_path / "out", workers=1)
    renamed = tmp_path / "renamed"
    for kind in ("train", "labels"):
        for path in (raw / kind).iterdir():
            stem = f"A_2020_{path.stem[-4:]}_1_GeoTIFF"
            to = f"images/A/{stem}.tif" if kind == "train" else f"masks/A_masks/{stem}_mask.tif"
            (renamed / to).parent.mkdir(parents=True, exist_ok=True)
            path.rename(renamed / to)
    with pytest.raises(ConfigError, match=r"found images of 4 bands; expected .*, 19 bands"):
        gp.clean(renamed, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


def test_clean_that_accepts_nothing_exits_with_1_and_groups_what_it_found(tmp_path: Path) -> None:
    raw = palette_chips(tmp_path / "raw")
    guessed = guess_folder(raw)
    short = guessed.recipe.model_copy(update={"bands": guessed.recipe.bands[:2]})
    (tmp_path / "r.yaml").write_text(recipe_text(raw, guessed._replace(recipe=short)), encoding="utf-8")
    arguments = ["clean", str(raw), str(tmp_path / "out"), "--workers", "1", "--recipe", str(tmp_path / "r.yaml")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[:3] == [
        "12 found = 0 accepted + 0 repaired + 12 rejected",
        "reject:",
        "      12  band-count",
    ]
