"""What is measured of pixels, beside NumPy and SciPy on the same ones; and verdicts that need no pixel, in full.

Long, because each measure has its own oracle.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve

from greenprep.checks.class_codes import KEPT, allowed_codes, code_shares, listed, with_codes
from greenprep.checks.collection import judge_collection, judge_newcomers
from greenprep.checks.measure import PixelStatistics, checksum, darkest, image_digest, measure_pixels
from greenprep.checks.quality import quality_findings
from greenprep.checks.survey import survey
from greenprep.checks.texture import SHIFTS, Fit, fit_of, looked_at, texture_of
from greenprep.checks.units import undecodable
from greenprep.checks.verdict import crashed, failed, in_order, with_reasons
from greenprep.findings import finding
from greenprep.raw.pair import Pixels, open_pair
from greenprep.raw.pairs import Candidate
from greenprep.raw.tiff_header import BadFile
from greenschemas.bands import Band, Role
from greenschemas.codes import Code
from greenschemas.labels import LabelCounts
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Level, Verdict
from greenschemas.recipe import MaskRules, Recipe
from support.raw import Collection

LIMITS = Limits()
PAIR = Candidate("i.tif", "m.tif", "g", "1", parts=(("city", "T"),))
OPTICAL = tuple(Band(name=name, common=name) for name in ("blue", "green", "red", "nir"))
RADAR = Band(name="vv", role=Role.RADAR)
HEIGHT = Band(name="dem", role=Role.ELEVATION)


def random_image(seed: int, shape: tuple[int, int, int] = (3, 12, 17)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, shape).astype(np.float32)


@given(st.integers(0, 2**20), st.integers(1, 6), st.integers(1, 6))
def test_sums_of_a_texture_are_those_of_numpy_and_scipy(seed: int, height: int, width: int) -> None:
    image = random_image(seed, (2, height, width))
    found, x = texture_of(image, 1000, 400), image.astype(np.float64)
    assert found.pixels == height * width
    assert found.pairs == (height * (width - 1), (height - 1) * width)
    assert found.inner == (max(height - 2, 0) * max(width - 2, 0))
    np.testing.assert_allclose(found.total, (x - 1000).sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found.square, ((x - 1000) ** 2).sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found.across, (np.diff(x, axis=2) ** 2).sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(found.down, (np.diff(x, axis=1) ** 2).sum(axis=(1, 2)), rtol=1e-6)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    inner = np.stack([convolve(band, mask)[1:-1, 1:-1] for band in x])
    np.testing.assert_allclose(found.immerkaer, np.abs(inner).sum(axis=(1, 2)), rtol=1e-5, atol=1e-3)
    assert found.jumps.tolist() == [int((np.abs(np.diff(band, axis=1)) > 128).sum()) for band in x]
    stands_out = [
        sum(
            all(band[i, j] - each > 400 for each in around) or all(each - band[i, j] > 400 for each in around)
            for i in range(1, height - 1)
            for j in range(1, width - 1)
            for around in [(band[i - 1, j], band[i + 1, j], band[i, j - 1], band[i, j + 1])]
        )
        for band in x
    ]
    assert found.impulses.tolist() == stands_out


def test_a_jump_is_more_than_half_the_range_of_8_bits() -> None:
    assert texture_of(np.array([[[0, 128, 257]]], np.float32), 0, 1).jumps.tolist() == [1]


def test_greys_are_counted_where_all_values_lie_in_0_to_255() -> None:
    image = np.array([[[0, 255, 7]], [[7, 7, 8]]], np.float32)
    greys = texture_of(image, 0, 1).greys
    assert greys is not None and greys.shape == (2, 256)
    assert (greys[0, [0, 7, 255]].tolist(), greys[1, [7, 8]].tolist(), greys.sum()) == ([1, 1, 1], [2, 1], 6)
    for out in (-1, 256):
        assert texture_of(np.where(image == 8, np.float32(out), image), 0, 1).greys is None
    one = texture_of(image, 0, 1)
    assert (one + texture_of(image + 1000, 0, 1)).greys is None
    both = (one + one).greys
    assert both is not None and both.sum() == 12


@pytest.mark.parametrize(
    ("bands", "due"),
    [
        (OPTICAL, [0, 2, 3]),
        ((OPTICAL[1], *(Band(name=f"B{i}") for i in range(4))), [0, 1, 2]),
        ((HEIGHT, RADAR, RADAR.model_copy(update={"name": "vh"}), RADAR.model_copy(update={"name": "x"})), [0, 1, 2]),
        ((Band(name="qa60", role=Role.MASK),), [0]),
        (tuple(Band(name=f"q{i}", role=Role.MASK) for i in range(4)), [0, 1, 2]),
    ],
)
def test_textures_are_those_of_three_bands_the_common_ones_first(bands: tuple[Band, ...], due: list[int]) -> None:
    assert looked_at(bands) == due


def blocks(seed: int) -> np.ndarray:
    """(64, 64) class 0 or 1, in squares of 8 pixels."""
    return np.kron(np.random.default_rng(seed).integers(0, 2, (8, 8)), np.ones((8, 8), int))


def coded(label: np.ndarray) -> np.ndarray:
    return np.stack([200 * (label == 0), 200 * (label == 1)]).astype(np.uint8)


@pytest.mark.parametrize("at", range(len(SHIFTS)))
def test_labels_fit_best_where_the_picture_is(at: int) -> None:
    label = blocks(1)
    picture = (1000 + 500 * np.roll(label, SHIFTS[at], axis=(0, 1))).astype(np.float32)[None]
    found = fit_of(picture, coded(label), None)
    assert found.best[1] == SHIFTS[at] and found.best[0] > 0.85
    assert (found.here > 0.85) == (at == 0)


def test_edges_of_what_is_hidden_or_unlabelled_are_not_compared() -> None:
    label = blocks(2)
    picture = (1000 + 500 * label).astype(np.float32)[None]
    holes = np.random.default_rng(0).random(label.shape) < 0.02
    fraction = coded(label)
    fraction[:, holes] = 255
    for found in (fit_of(picture, fraction, None), fit_of(picture, coded(label), ~holes)):
        assert found.best[1] == (0, 0) and found.here > 0.75
    assert fit_of(picture[:, :31], fraction[:, :31], None).weight == 0
    assert np.isnan(Fit(0, np.zeros(len(SHIFTS))).here) and np.isnan(Fit(0, np.zeros(len(SHIFTS))).best[0])
    assert fit_of(np.ones_like(picture), coded(label), None).weight == 0
    assert fit_of(picture, coded(np.zeros_like(label)), None).weight == 0


def pixels(image: np.ndarray, fraction: np.ndarray, present: np.ndarray | None = None, **changes: Any) -> Pixels:
    seen = np.ones(image.shape[1:], bool) if present is None else present
    labels = LabelCounts(pixels=seen.size, labelled=seen.size)
    return replace(Pixels(0, 0, True, image, seen, seen, fraction, labels, 0, None, None), **changes)


BANDS = (*OPTICAL, RADAR)


def measured(
    image: np.ndarray, fraction: np.ndarray, present: np.ndarray | None = None, **changes: Any
) -> PixelStatistics:
    return measure_pixels(pixels(image, fraction, present, **changes), BANDS, 10_000.0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_sums_are_over_the_pixels_that_hold_something(dtype: str) -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(1, 120, (5, 20, 21)).astype(dtype)
    fraction = rng.integers(0, 100, (2, 20, 21)).astype(np.uint8)
    fraction[:, :3] = 255
    present = rng.random((20, 21)) < 0.6
    found, x = measured(image, fraction, present), image[:, present].astype(float)
    assert (found.pixels, found.present, found.content) == (420, present.sum(), present.sum())
    np.testing.assert_array_equal(found.low, x.min(axis=1))
    np.testing.assert_array_equal(found.high, x.max(axis=1))
    np.testing.assert_allclose(found.total, x.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.square, (x * x).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.class_sum, fraction[:, 3:].sum(axis=(1, 2)) / 200)
    # Where there is nothing textures see a reflectance of 0.15, and columns are sums of what they see.
    seen = np.where(present, image[[0, 2, 3]].astype(float), 1500.0)
    np.testing.assert_allclose(found.columns, seen.sum(axis=1))
    nothing = measured(image, fraction, np.zeros_like(present))
    assert nothing.low.tolist() == [np.inf] * 5 and nothing.high.tolist() == [-np.inf] * 5
    assert nothing.undeclared_nodata.dtype == nothing.saturated.dtype == np.int64


def test_one_class_is_alone_where_every_strip_has_it_alone() -> None:
    image = np.ones((5, 4, 4), np.uint16)
    one, other, both = (measured(image, coded(np.full((4, 4), 0) | how)) for how in (0, 1, np.eye(4, dtype=int)))
    assert one.single is True and (one + one).single is True and not both.single
    assert (one + other).single is False and (one + both).single is False and (both + both).single is False


def test_bands_are_the_same_picture_where_they_are_equal_in_every_pixel_and_strip() -> None:
    image = np.random.default_rng(0).random((5, 8, 8)).astype(np.float32)
    image[4] = image[1]
    image[[1, 4], 0, 0] = np.nan
    there = np.ones((8, 8), bool)
    there[0, 0] = False
    twice = measured(image, coded(np.zeros((8, 8), int)), there)
    assert twice.identical_bands == {(1, 4)}
    other = measured(np.random.default_rng(1).random((5, 8, 8)).astype(np.float32), coded(np.zeros((8, 8), int)))
    assert (twice + twice).identical_bands == {(1, 4)} and (twice + other).identical_bands == frozenset()


def test_a_line_is_flat_where_a_band_has_one_value_or_it_repeats_the_one_before() -> None:
    image = np.random.default_rng(0).integers(1, 3000, (5, 8, 9)).astype(np.uint16)
    image[4, 2] = 7  # one value in the radar band
    image[:, 5] = image[:, 4]  # the line before, in all bands
    image[:4, 7] = image[:4, 6]  # in all but the radar band
    assert measured(image, coded(np.zeros((8, 9), int))).rows[0].flat_rows.tolist() == [
        row in (2, 5) for row in range(8)
    ]


def test_digests_are_of_the_pixels_as_they_are_handed_on() -> None:
    image = np.random.default_rng(0).integers(1, 3000, (5, 4, 6)).astype(np.uint16)
    label = coded(np.eye(4, 6, dtype=int))
    whole, rows = measured(image, label), measured(image, label, whole=False)
    held = np.concatenate([label, np.ones((1, 4, 6), np.uint8)])
    by_rows = [b"".join(hashlib.sha256(of[:, i].tobytes()).digest() for i in range(4)) for of in (image, held)]
    assert whole.rows[0].image == hashlib.sha256(image.tobytes()).digest()
    assert whole.rows[0].labels == hashlib.sha256(held.tobytes()).digest()
    assert [rows.rows[0].image, rows.rows[0].labels] == by_rows
    assert image_digest(rows, "uint16") == hashlib.sha256(b"uint16" + by_rows[0]).hexdigest()
    twice = rows + replace(rows, rows=(replace(rows.rows[0], row=4),))
    assert image_digest(twice, "uint16") == hashlib.sha256(b"uint16" + 2 * by_rows[0]).hexdigest()
    assert checksum(rows, "uint16") == hashlib.sha256(b"uint16" + by_rows[0] + by_rows[1]).hexdigest()


def test_clouds_are_what_a_quality_band_says_in_any_strip_else_what_is_bright() -> None:
    image, label = np.full((5, 4, 6), 9000, np.uint16), coded(np.eye(4, 6, dtype=int))
    plain, flagged = measured(image, label), measured(image, label, cloud=np.eye(4, 6, dtype=bool))
    assert (plain.has_flags, flagged.has_flags, flagged.flagged) == (False, True, 4)
    assert (plain + flagged).has_flags and (flagged + plain).has_flags
    unknown = measure_pixels(pixels(image, label), BANDS, None)
    assert unknown.bright_cloud == plain.bright_cloud == -24  # no scale, or no cirrus band


def test_the_darkest_pixels_are_looked_for_band_by_band() -> None:
    counts = np.zeros((3, 160), int)
    counts[0, [4, 90]], counts[1, [8, 9]] = (1, 99), (50, 50)
    assert darkest(counts, 0.01)[:2].tolist() == [0.01125, 0.02125] and np.isnan(darkest(counts, 0.01)[2])
    assert darkest(counts, 0.5)[:2].tolist() == [0.22625, 0.02125]


def filled(value: float, band: int, dtype: str, empty: bool = False) -> list[int]:
    """Pixels that hold each of the fillers, where one band does in three rows."""
    image = np.full((5, 4, 5), 100, dtype)
    image[slice(None) if band < 0 else band, :3] = value
    hidden = np.zeros((4, 5), bool)
    hidden[0] = empty
    found = measured(image, coded(np.zeros((4, 5), int)), empty=hidden if empty else None)
    return list(found.undeclared_nodata)


def test_fill_is_a_usual_value_in_any_band_or_the_greatest_in_all() -> None:
    assert filled(-9999, 4, "int16") == filled(-9999, 0, "float32") == [15, 0, 0, 0, 0, 0]
    assert filled(-9999, 4, "int16", empty=True) == [10, 0, 0, 0, 0, 0]
    assert sum(filled(65535, 0, "uint16")) == 0 and sum(filled(65535, -1, "uint16")) == 15


def lines(findings: Any) -> list[str]:
    return [f"{r.code} {r.level.value} {r.file}: {r.found} | {r.limit}" for r in findings]


def test_a_quality_band_that_holds_something_and_masks_nothing_is_named() -> None:
    names = ("qa60", "QA10", "flags", "scl", "vv")
    bands = [Band(name=name, role=Role.RADAR if name == "vv" else Role.MASK) for name in names]
    image = np.zeros((5, 4, 4), np.uint16)

    def said(*highest: int) -> list[str]:
        image[:, 0, 0] = highest
        return lines(quality_findings(measured(image, coded(np.zeros((4, 4), int))), bands, LIMITS))

    assert said(3072, 9, 0, 11, 9) == []
    assert said(3073, 0, 0, 0, 0) == ["quality-unknown warn image: `qa60` holds 3073 | at most 3072"]
    (unknown,) = said(0, 0, 1, 0, 0)
    found, limit = unknown.split(" | ")
    assert found == "quality-unknown warn image: `flags` (0 to 1) has a name whose bits are not known"
    assert limit.startswith("one of ") and ", qa60, " in limit
    strict = Limits.model_validate({"levels": {"quality-unknown": "reject"}})
    image[:, 0, 0] = (3073, 0, 1, 0, 0)
    found_strictly = quality_findings(measured(image, coded(np.zeros((4, 4), int))), bands, strict)
    assert [reason.level for reason in found_strictly] == [Level.REJECT] * 2


@pytest.mark.parametrize(
    ("most", "dtype", "told"),
    [
        (1.0, "float32", "1"),
        (1.1, "float32", None),
        (127, "float32", None),
        (127.5, "float64", "128"),
        (1.0, "int8", None),
    ],
)
def test_floats_of_an_embedding_are_bytes_or_told(most: float, dtype: str, told: str | None) -> None:
    bands = [Band(name=f"A{i}", role=Role.EMBEDDING, decode="signed_square") for i in range(5)]
    image = np.zeros((5, 4, 4))
    image[3, 1, 1] = -most
    statistics = measure_pixels(pixels(image, coded(np.zeros((4, 4), int))), bands, None)
    due = f"A0 and the like hold up to {told} as {dtype} | -127 to 127, which `decode: signed_square` makes values of"
    said = lines(undecodable(statistics, dtype, bands, LIMITS))
    assert [line.split(": ", 1)[1] for line in said] == ([] if told is None else [due])
    plain = [Band(name=f"A{i}", role=Role.EMBEDDING) for i in range(5)]
    assert not list(undecodable(statistics, dtype, plain, LIMITS)) and not list(
        undecodable(statistics, None, bands, LIMITS)
    )


def test_a_pair_that_no_process_survives_and_one_that_we_fail_on_are_verdicts() -> None:
    entry = crashed(PAIR, "stamp", Limits(seconds_max=7))
    assert (entry.image, entry.mask, entry.group, entry.time) == ("i.tif", "m.tif", "g", "1")
    assert (entry.parts, entry.verdict, entry.stamp) == ({"city": "T"}, Verdict.REJECTED, "stamp")
    assert lines(entry.reasons) == [
        "decoder-crash reject pair: the process that read it died, or took more than 7 s and was ended | a process "
        "that lives"
    ]
    lenient = Limits.model_validate({"levels": {"decoder-crash": "warn"}})
    assert crashed(PAIR, "s", lenient).verdict is Verdict.ACCEPTED
    try:
        raise ZeroDivisionError("a\n b" * 100)
    except ZeroDivisionError as problem:
        entry = failed(PAIR, problem, LIMITS)
    (reason,) = entry.reasons
    text, _, where = reason.found.partition(" in test_check_measures.py, line ")
    assert text == "ZeroDivisionError: " + " ".join(("a\n b" * 100).split())[:200] and where.isdigit()
    assert (entry.verdict, entry.stamp, reason.file, reason.level) == (Verdict.REJECTED, None, "pair", Level.REJECT)
    assert failed(PAIR, ValueError(), LIMITS).reasons[0].found == "ValueError: no message"


THE_PAIR = Candidate(
    "images/T/T_2020_1_1_GeoTIFF.tif", "masks/T_masks/T_2020_1_1_GeoTIFF_fractional_mask.tif", "g", "1"
)


def entry(image: str, **changes: Any) -> Entry:
    values: dict[str, Any] = {"mask": None, "group": "g", "time": image, "verdict": Verdict.ACCEPTED}
    return Entry(image=image, **values | {"image_checksum": image, "checksum": image} | changes)


def test_what_a_person_accepted_stays_accepted_and_the_gravest_reason_stands_first() -> None:
    reject, warn, repair = (
        finding(code, "image", code.value, level=level)
        for code, level in ((Code.NOISE, Level.REJECT), (Code.CLOUD, Level.WARN), (Code.SOUTH_UP, Level.REPAIR))
    )
    assert in_order([warn, repair, reject, warn]) == (reject, repair, warn, warn)
    assert with_reasons(entry("a"), [warn, reject]).verdict is Verdict.REJECTED
    accepted = with_reasons(entry("a"), [reject, finding(Code.BY_HAND, "pair", "x", level=Level.WARN)])
    assert (accepted.verdict, {r.level for r in accepted.reasons}) == (Verdict.ACCEPTED, {Level.WARN})
    refused = with_reasons(entry("a"), [finding(Code.BY_HAND, "pair", "x", level=Level.REJECT), warn])
    assert (refused.verdict, [r.level for r in refused.reasons]) == (Verdict.REJECTED, [Level.REJECT, Level.WARN])


@pytest.mark.parametrize("strips", [[(0, 40)], [(0, 13), (13, 20), (33, 7)]])
def test_a_pair_is_judged_alike_in_one_strip_and_in_several(tmp_path: Any, strips: list[tuple[int, int]]) -> None:
    made = Collection(tmp_path)
    made.add(1, 1)
    rules = made.plain
    seen: list[tuple[int, ...]] = []
    with open_pair(made.raw, THE_PAIR, rules.bands, rules.mask, rules.limits) as pair:
        found = survey(pair, strips, "stamp", lambda strip: seen.append((strip.row, *strip.valid.shape)))
        due = survey(pair, [(0, 40)], "stamp")
    assert (found.verdict, found.stamp, found.reasons) == (Verdict.ACCEPTED, "stamp", ())
    assert seen == [(*strip, 45) for strip in strips]
    for key in ("valid", "mean.blue", "std.nir", "share.green", "dark.red"):
        assert found.measures[key] == pytest.approx(due.measures[key], rel=1e-5)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a_file_that_cannot_be_decoded_to_its_end_is_a_verdict_that_names_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = Collection(tmp_path)
    made.add(1, 1)
    path = made.raw / str(THE_PAIR.image if kind == "image" else THE_PAIR.mask)
    strict = Recipe.model_validate(made.plain.model_dump() | {"limits": {"levels": {"unreadable": "warn"}}})

    def torn(*_: Any) -> Any:
        raise BadFile(path, "row 3 is torn", "fetch it again")

    for rules, verdict in ((made.plain, Verdict.REJECTED), (strict, Verdict.ACCEPTED)):
        with open_pair(made.raw, THE_PAIR, rules.bands, rules.mask, rules.limits) as pair:
            monkeypatch.setattr(pair, "read", torn)
            found = survey(pair, [(0, 40)], "stamp")
        (reason,) = found.reasons
        assert (found.verdict, found.stamp, found.measures, reason.remedy) == (verdict, "stamp", {}, "fetch it again")
        assert lines([reason])[0].split(" ", 2)[2] == f"{kind}: row 3 is torn | a readable TIFF"


def test_codes_are_shown_the_commonest_first() -> None:
    rules = MaskRules(classes={10: "trees", 20: "low"})
    counts = LabelCounts(pixels=1000, unknown=200, values=((10, 500), *((100 + i, 10) for i in range(13)), (7, 20)))
    shown = ", ".join(["7 in 2.00%", *(f"{100 + i} in 1.00%" for i in range(11))])
    assert listed(counts, rules) == f"{shown}, others in 7.00% of the pixels"
    assert with_codes(counts, rules) is None and with_codes(LabelCounts(pixels=1), rules) is None
    assert (allowed_codes(rules), allowed_codes(MaskRules(classes=("a", "b", "c")))) == ("10, 20", "0 to 2")
    many = LabelCounts(pixels=1000, values=tuple((code, 5 + (code == 200)) for code in range(KEPT + 3, 300)[::-1]))
    kept = code_shares(many)
    assert len(kept) == KEPT and kept["code.200"] == 0.006 and next(iter(kept)) == f"code.{KEPT + 3}"
    assert f"code.{2 * KEPT + 1}" in kept and f"code.{2 * KEPT + 2}" not in kept


def test_a_newcomer_that_repeats_what_is_there_is_the_one_that_goes() -> None:
    rules = Recipe(bands=OPTICAL)
    known = [entry("b"), entry("c", group="h", time="1")]
    new = [entry("d", group="h", time="1"), entry("a", image_checksum="b", checksum="other")]
    found = judge_newcomers(known, new, rules.bands, rules.mask, rules.limits)
    assert [(one.image, one.verdict, lines(one.reasons)) for one in found] == [
        ("a", Verdict.REJECTED, ["duplicate-content reject image: the pixels of b, with other labels | one of a kind"]),
        ("d", Verdict.REJECTED, ["same-group-time reject pair: h at time 1, as c | one pair"]),
    ]
    again = judge_newcomers(known, found, rules.bands, rules.mask, rules.limits)
    assert again == found
    same = judge_collection([entry("b"), entry("a", image_checksum="b", checksum="b")], rules.bands, rules.mask, LIMITS)
    assert lines(same[1].reasons) == [
        "duplicate-content reject image: the pixels of a, with the same labels | one of a kind"
    ]


def test_tags_of_scale_unlike_those_of_most_are_told_in_words() -> None:
    rules = Recipe(bands=OPTICAL)
    tags = {f"scale.B{i}": 0.1 for i in range(6)}
    some = [entry(str(i), group=None, measures={"scale.B1": 2.0} if i < 5 else {}) for i in range(8)]
    some.append(entry("x", group=None, measures=tags))
    found = judge_collection(some, rules.bands, rules.mask, LIMITS)
    told = {one.image: lines(one.reasons) for one in found if one.reasons}
    limit = "scale.B1 2, as in 5 of 9 files"
    none = f"unlike-tags warn image: no scale and offset tags | {limit}"
    shown = ", ".join(f"scale.B{i} 0.1" for i in range(4))
    assert told == {
        "5": [none],
        "6": [none],
        "7": [none],
        "x": [f"unlike-tags warn image: {shown} and 2 more | {limit}"],
    }
