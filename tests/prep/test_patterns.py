"""File names as people write them: parts in braces."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenprep.raw.pairs import find_pairs
from greenschemas.codes import Code
from greenschemas.errors import RecipeError
from greenschemas.name_pattern import parts_of, regex_of
from greenschemas.recipe import Pairing, Recipe

BESIDE = Pairing.model_validate({"images": "{site}_{date}.tif", "masks": "{site}_{date}_label.tif", "group": "{site}"})
WORDS = st.text("abc01.-+()[]$", min_size=1, max_size=6)


def laid(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@given(st.lists(WORDS, min_size=3, max_size=3))
def test_a_pattern_takes_back_the_words_that_were_put_into_it(words: list[str]) -> None:
    pattern = "in (1)/{site}_{date}/{site}_{band}+.tif"
    site, date, band = words
    match = re.fullmatch(regex_of(pattern), f"in (1)/{site}_{date}/{site}_{band}+.tif")
    assert match is not None and match.groupdict() == {"site": site, "date": date, "band": band}
    assert parts_of(pattern) == ("site", "date", "band")


def test_images_and_masks_may_lie_in_the_same_folder(tmp_path: Path) -> None:
    laid(tmp_path, "site12_2020-06-01.tif", "site12_2020-06-01_label.tif", "site_7_2021-01-02.tif", "notes.tif")
    found = {one.name: one for one in find_pairs(tmp_path, BESIDE)}
    pair = found["site12_2020-06-01.tif"]
    assert (pair.mask, pair.group, pair.time) == ("site12_2020-06-01_label.tif", "site12", "2020-06-01")
    assert pair.parts == {"site": "site12", "date": "2020-06-01"}
    assert found["site_7_2021-01-02.tif"].problem is Code.MISSING_MASK
    assert found["site_7_2021-01-02.tif"].group == "site_7"
    assert found["notes.tif"].problem is Code.STRAY


def test_one_mask_may_belong_to_all_dates_of_a_place(tmp_path: Path) -> None:
    laid(tmp_path, "img/a/1.tif", "img/a/2.tif", "img/b/1.tif", "lab/a.tif", "lab/b.tif")
    names = {"images": "img/{site}/{date}.tif", "masks": "lab/{site}.tif", "group": "{site}"}
    found = find_pairs(tmp_path, Pairing.model_validate(names))
    assert [(one.image, one.mask, one.problem) for one in found] == [
        (f"img/{site}/{date}.tif", f"lab/{site}.tif", None) for site, date in ("a1", "a2", "b1")
    ]


def test_a_name_that_both_patterns_fit_is_what_the_one_that_says_more_calls_it(tmp_path: Path) -> None:
    laid(tmp_path, "a_img.tif", "a.tif", "b_img.tif", "b.tif")
    names = {"images": "{site}_img.tif", "masks": "{site}.tif", "group": "{site}"}
    found = find_pairs(tmp_path, Pairing.model_validate(names))
    assert [(one.image, one.mask) for one in found] == [("a_img.tif", "a.tif"), ("b_img.tif", "b.tif")]


def test_folders_of_any_depth_and_wild_cards(tmp_path: Path) -> None:
    laid(tmp_path, "x/y/t_1.tif", "t_2.tiff", "x/y/m/t_1.png.tif", "m/t_2.tif")
    names = {"images": "**/t_{n}.tif*", "masks": "**/m/t_{n}.*tif", "group": "{n}"}
    assert {(one.image, one.mask) for one in find_pairs(tmp_path, Pairing.model_validate(names))} == {
        ("x/y/t_1.tif", None),
        ("t_2.tiff", "m/t_2.tif"),
        (None, "x/y/m/t_1.png.tif"),
    }


def test_the_recipe_survives_its_own_dump() -> None:
    recipe = Recipe(pairing=BESIDE)
    assert Recipe.model_validate(recipe.about_data()) == recipe
    assert BESIDE.time == "{date}"


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"images": "{site}.tif"}, "named in braces"),
        (
            {"images": "{site}.tif", "masks": "{site}_m.tif", "image_name": "(?P<stem>.*)", "group": "{site}"},
            "named in braces",
        ),
        ({"images": "{site}.tif", "masks": "{place}_m.tif", "group": "{site}"}, "such as {place}"),
        ({"images": "{site}.tif", "masks": "{site}_m.tif"}, "made of {site}, the parts of images"),
        ({"images": "{my site}.tif", "masks": "{my site}_m.tif", "group": ""}, "unlike {my site}"),
        ({"images": "../{site}.tif", "masks": "{site}_m.tif", "group": "{site}"}, "below the raw folder"),
    ],
)
def test_names_that_cannot_be_are_refused(names: dict[str, str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Recipe.parse("recipe.yaml", {"pairing": names}, RecipeError)
