"""Pairing: by name and never by position."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from greenprep.raw.pairs import find_pairs, pair_names
from greenschemas.codes import Code
from greenschemas.recipe import Pairing

NAMES = Pairing()


def image(stem: str, folder: str = "A") -> str:
    return f"images/{folder}/{stem}_GeoTIFF.tif"


def mask(stem: str, folder: str = "A", ending: str = "_fractional_mask.tif") -> str:
    return f"masks/{folder}_masks/{stem}_GeoTIFF{ending}"


@given(
    st.sets(st.tuples(st.sampled_from(["VBWVA", "ST_LOUIS"]), st.integers(0, 30), st.integers(1, 4)), min_size=1),
    st.randoms(),
)
def test_every_image_finds_its_own_mask_in_whatever_order_names_come(
    keys: set[tuple[str, int, int]], shuffler: object
) -> None:
    stems = [f"{city}_2016_{area}_{time}" for city, area, time in keys]
    masks = [mask(stem) for stem in stems]
    shuffler.shuffle(masks)  # type: ignore[attr-defined]
    found = pair_names([image(stem) for stem in stems], masks, [], NAMES)
    assert all(one.mask is not None and one.image is not None and one.problem is None for one in found)
    assert all(Path(one.image or "").stem in (one.mask or "") for one in found)
    assert [one.name for one in found] == sorted(one.name for one in found)


def test_group_and_time_come_from_the_name_of_a_city_with_underscores() -> None:
    (one,) = pair_names([image("ST_LOUIS_MO_2016_17_2")], [mask("ST_LOUIS_MO_2016_17_2")], [], NAMES)
    assert (one.group, one.time) == ("ST_LOUIS_MO_2016_17", "2")
    assert one.parts == {"city": "ST_LOUIS_MO", "year": "2016", "area": "17", "time": "2"}


def test_the_endings_of_masks_that_occur() -> None:
    for ending in ("_fractional_mask.tif", "_fractional_mask.term.tif", "_mask.tif"):
        (one,) = pair_names([image("C_2016_1_1")], [mask("C_2016_1_1", ending=ending)], [], NAMES)
        assert one.problem is None


def test_endings_may_be_in_capitals(tmp_path: Path) -> None:
    for name in ("images/A/A_2016_0_1_GeoTIFF.TIF", "masks/A_masks/A_2016_0_1_GeoTIFF_fractional_mask.Tiff"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    (pair,) = find_pairs(tmp_path, Pairing())
    assert pair.image and pair.mask and pair.group == "A_2016_0"


def test_lone_files_and_strays_are_named_as_such() -> None:
    found = pair_names([image("C_2016_1_1"), "images/A/readme.tif"], [mask("C_2016_2_1")], ["elsewhere.tif"], NAMES)
    assert {(one.name.split("/")[-1], one.problem) for one in found} == {
        ("C_2016_1_1_GeoTIFF.tif", Code.MISSING_MASK),
        ("readme.tif", Code.STRAY),
        ("C_2016_2_1_GeoTIFF_fractional_mask.tif", Code.MISSING_IMAGE),
        ("elsewhere.tif", Code.STRAY),
    }


def test_two_masks_for_one_image_are_not_chosen_between() -> None:
    found = pair_names([image("C_2016_1_1")], [mask("C_2016_1_1"), mask("C_2016_1_1", ending="_mask.tif")], [], NAMES)
    assert [one.problem for one in found] == [Code.AMBIGUOUS_PARTNER] * 2


def test_one_stem_in_two_folders_pairs_within_each() -> None:
    found = pair_names(
        [image("C_2016_1_1", "A"), image("C_2016_1_1", "B")],
        [mask("C_2016_1_1", "A"), mask("C_2016_1_1", "B")],
        [],
        NAMES,
    )
    assert [(one.image, one.mask, one.problem) for one in found] == [
        (image("C_2016_1_1", f), mask("C_2016_1_1", f), None) for f in "AB"
    ]


def test_sidecars_are_no_strays_and_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in (
        image("C_2016_1_1"),
        mask("C_2016_1_1"),
        image("C_2016_1_1") + ".aux.xml",
        image("C_2016_1_1") + ".ovr",
        "truth.json",
        "lost.TIFF.txt",
        "lost.tif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_pairs(tmp_path, NAMES)
    assert [one.name for one in found] == [image("C_2016_1_1"), "lost.tif"]


def test_copies_by_a_browser_or_drive_find_the_mask_that_is_theirs() -> None:
    def called(images: list[str], masks: list[str], names: Pairing = NAMES) -> dict[str, tuple[str | None, str | None]]:
        return {one.name: (one.mask, one.problem) for one in pair_names(images, masks, [], names)}

    first, second = image("A_2016_1_1"), image("A_2016_1_1").replace(".tif", " (1).tif")
    its, copied = mask("A_2016_1_1"), mask("A_2016_1_1").replace(".tif", " (1).tif")
    assert called([second], [its]) == {second: (its, None)}
    assert called([first, second], [its, copied]) == {first: (its, None), second: (copied, None)}
    assert called([first], [its, copied]) == {first: (its, None), copied: (copied, Code.MISSING_IMAGE)}
    (pair,) = pair_names([second], [its], [], NAMES)
    assert (pair.group, pair.time) == ("A_2016_1", "1")
    # Numbers that are names, as a file manager gives to many, stay names.
    numbered = Pairing.model_validate({"images": "{site}.tif", "masks": "{site}.label.tif", "group": "{site}"})
    images, masks = ([f"s ({i}){end}" for i in (1, 2)] for end in (".tif", ".label.tif"))
    assert called(images, masks, numbered) == {one: (two, None) for one, two in zip(images, masks, strict=True)}


def test_linked_folders_are_looked_into_and_loops_are_not(tmp_path: Path) -> None:
    raw, far = tmp_path / "raw", tmp_path / "far"
    for folder, name in ((far / "images" / "A", image("A_2016_1_1")), (raw / "masks" / "A_masks", mask("A_2016_1_1"))):
        folder.mkdir(parents=True)
        (folder / Path(name).name).touch()
    (raw / "images").symlink_to(far / "images")
    (far / "images" / "B").symlink_to(far / "images" / "A")
    (far / "images" / "A" / "up").symlink_to(raw)
    (far / "images" / "A" / "round").symlink_to(far / "images")
    (raw / "above").symlink_to(tmp_path)
    found = find_pairs(raw, NAMES)
    assert {one.name for one in found} == {image("A_2016_1_1"), image("A_2016_1_1", "B")}
    assert {one.mask for one in found} == {mask("A_2016_1_1")}


def test_a_mask_that_many_images_might_mean_is_told_of_once() -> None:
    images = [f"images/{city}/x_2020_1_1_GeoTIFF.tif" for city in "ABC"]
    masks = [f"masks/{place}/x_2020_1_1_GeoTIFF_mask.tif" for place in "DE"]
    found = pair_names(images, masks, [], Pairing())
    assert [(one.image, one.mask, one.problem) for one in found if one.image is None] == [
        (None, masks[1], Code.AMBIGUOUS_PARTNER)
    ]
    assert [one.problem for one in found if one.image] == [Code.AMBIGUOUS_PARTNER] * 3


def test_a_copy_that_the_pattern_finds_as_it_is_has_the_mask_of_the_original() -> None:
    pairing = Pairing.model_validate(
        {"images": "{site}_{date}.tif", "masks": "{site}_{date}_lab.tif", "group": "{site}"}
    )
    images, masks = ["a_1 (1).tif", "b (2)_1.tif", "c_2 (1).tif"], ["a_1_lab.tif", "b (2)_1_lab.tif", "c_2 (1)_lab.tif"]
    found = pair_names(images, masks, [], pairing)
    assert [(one.image, one.mask, one.problem) for one in found] == [
        (image, mask, None) for image, mask in zip(images, masks, strict=True)
    ]
    assert [(one.group, one.time) for one in found] == [("a", "1"), ("b (2)", "1"), ("c", "2 (1)")]
