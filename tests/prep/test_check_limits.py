"""Each check is silent at its limit and speaks beyond it, in these words; statistics are made by hand.

Long, because it is a table: a row for each check and kind of limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from greenprep.checks.class_codes import with_codes
from greenprep.checks.image import image_findings
from greenprep.checks.judge import judge
from greenprep.checks.mask import mask_findings
from greenprep.checks.measure import DARK_BINS, PixelStatistics, RowStatistics
from greenprep.checks.texture import SHIFTS, Fit, Texture
from greenprep.findings import finding
from greenprep.raw.pair import PairHeader
from greenprep.raw.pairs import Candidate
from greenschemas.bands import Band, Role
from greenschemas.choices import NanPolicy
from greenschemas.codes import Code
from greenschemas.grid import IDENTITY
from greenschemas.labels import LabelCounts
from greenschemas.limits import Limits
from greenschemas.manifest import Level, Verdict
from greenschemas.recipe import MaskRules, Recipe

NAMES = ("blue", "green", "red", "cirrus", "vv", "qa60")
BANDS = (
    *({"name": name, "common": name} for name in NAMES[:4]),
    {"name": "vv", "role": "radar"},
    {"name": "qa60", "role": "mask"},
)
RECIPE = Recipe.model_validate({"bands": BANDS, "mask": {"classes": ["built", "green"]}})
# Every share is a quarter, so that a limit can be met to the pixel.
QUARTER = dict.fromkeys(("content_min", "nodata_max", "undeclared_max", "cloud_max", "saturated_max"), 0.25)
LIMITS = Limits(**QUARTER, impulse_max=0.25, dropped_lines_max=0.25, bad_labels_max=0.25)  # type: ignore[arg-type]
SIDE, N = 20, 400


def moments(mean: Any, deviation: Any) -> dict[str, Any]:
    """Sums over N pixels with these means and deviations of the six bands."""
    mean, deviation = np.asarray(mean, float), np.asarray(deviation, float)
    return {"total": N * mean, "square": N * (mean * mean + deviation * deviation)}


def ones(*values: float) -> np.ndarray:
    return np.array(values, float)


# Of three bands: deviations of 200 about the centre, of which the noise is next to nothing.
TEXTURE = Texture(
    pixels=N,
    total=np.zeros(3),
    square=np.full(3, N * 40_000.0),
    across=np.full(3, 380 * 800.0),
    down=np.full(3, 380 * 800.0),
    pairs=(380, 380),
    immerkaer=np.full(3, 100.0),
    inner=324,
    impulses=np.zeros(3, int),
    jumps=np.zeros(3, int),
    greys=None,
)
GOOD = PixelStatistics(
    pixels=N,
    valid=N,
    present=N,
    content=N,
    nonfinite=0,
    empty=0,
    flagged=0,
    has_flags=False,
    bright_cloud=0.0,
    undeclared_nodata=np.zeros(6, int),
    labels=LabelCounts(pixels=N, labelled=N, worst_sum=1.0),
    class_sum=ones(100, 300),
    single=False,
    low=ones(100, 100, 100, 1, -20, 0),
    high=ones(3000, 3000, 4000, 90, -5, 0),
    **moments([1000, 1200, 1500, 20, -12, 0], [200, 200, 300, 10, 3, 0]),
    dark=np.zeros((4, DARK_BINS), int),
    saturated=np.zeros(6, int),
    identical_bands=frozenset(),
    texture=TEXTURE,
    columns=np.zeros((3, SIDE)),
    fit=Fit(100, np.array([50.0, *np.zeros(len(SHIFTS) - 1)])),
    rows=(RowStatistics(0, b"i", b"l", np.zeros(SIDE, bool), np.zeros((3, SIDE), np.float32)),),
)


def header(dtype: str = "uint16", *findings: Any) -> PairHeader:
    where = Candidate("i.tif", "m.tif", "g", "1")
    return PairHeader(where, (6, SIDE, SIDE), dtype, "EPSG:32618", IDENTITY, tuple(findings))


def said(
    statistics: PixelStatistics = GOOD, about: PairHeader | None = None, limits: Limits = LIMITS, bands: Any = None
) -> list[str]:
    """Findings about the image, each as a line."""
    found = image_findings(statistics, about or header(), bands or RECIPE.bands, limits)
    return [f"{r.code} {r.level.value} {r.file}: {r.found} | {r.limit}" for r in found]


def with_(**changes: Any) -> PixelStatistics:
    return replace(GOOD, **changes)


def at(values: np.ndarray, index: int, value: float) -> np.ndarray:
    """A copy with one value changed."""
    changed = values.copy()
    changed[index] = value
    return changed


def test_what_is_good_says_nothing() -> None:
    assert said() == [] and mask_findings(GOOD, RECIPE.mask, LIMITS) == []


NODATA = "nodata-share warn image: 25.25% of the pixels are zero or without data | 25%"
BEYOND: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    # name, at the limit, beyond it, what is said
    (
        "content",
        {"content": 100},
        {"content": 99},
        [
            "low-content reject image: 24.75% of the pixels usable and not zero | 25.00%",
            "nodata-share warn image: 75.25% of the pixels are zero or without data | 25%",
        ],
    ),
    ("no data", {"content": 300}, {"content": 299}, [NODATA]),
    (
        "fill",
        {"undeclared_nodata": at(np.zeros(6, int), 0, 100)},
        {"undeclared_nodata": at(np.zeros(6, int), 0, 101)},
        ["undeclared-nodata warn image: -9999 in 25.25% of the pixels | 25.00%"],
    ),
    (
        "bright cloud",
        {"bright_cloud": 100.0, "flagged": 300},
        {"bright_cloud": 101.0},
        ["cloud warn image: 25% of the pixels by brightness, greyness and cirrus | 25%"],
    ),
    (
        "flagged cloud",
        {"flagged": 100, "has_flags": True, "bright_cloud": 300.0},
        {"flagged": 101, "has_flags": True},
        ["cloud warn image: 25% of the pixels by the quality bands | 25%"],
    ),
    (
        "saturated",
        {"saturated": at(at(np.zeros(6, int), 1, 100), 4, 400)},
        {"saturated": at(at(np.zeros(6, int), 1, 101), 0, 7)},
        ["saturated reject image: green: 25.2% at 3000 | 25%"],
    ),
    (
        "deviation",
        moments([1000, 1200, 1500, 20, -12, 0], [200, 1.2, 300, 10, 3, 0]),
        moments([1000, 1200, 1500, 20, -12, 0], [200, 0.1, 300, 10, 3, 0]),
        ["near-constant-band warn image: green: deviation 0.1, mean 1200 | 0.0001 of the mean"],
    ),
    (
        "deviation below 0",
        moments([1000, 1200, 1500, 20, -12, 0], [200, 200, 300, 10, 0.0013, 0]),
        moments([1000, 1200, 1500, 20, -12, 0], [200, 200, 300, 10, 0.001, 0]),
        ["near-constant-band warn image: vv: deviation 0.001, mean -12 | 0.0001 of the mean"],
    ),
    (
        "one value",
        {"low": at(GOOD.low, 5, 4), "high": at(GOOD.high, 5, 4), "present": N},
        {"low": at(GOOD.low, 1, 3000)},
        ["constant-band reject image: green is 3000 everywhere | more than one value"],
    ),
    (
        "a dark cirrus band",
        {},
        {"low": at(GOOD.low, 3, 90)},
        ["constant-band warn image: cirrus is 90 everywhere | more than one value"],
    ),
    (
        "one picture twice",
        {"identical_bands": frozenset({(1, 2)}), "low": at(at(GOOD.low, 1, 3000), 2, 4000)},
        {"identical_bands": frozenset({(1, 2), (0, 4)})},
        [
            "identical-bands reject image: blue equals vv | bands that differ",
            "identical-bands reject image: green equals red | bands that differ",
        ],
    ),
    (
        "8 bits",
        {"high": ones(256, 101, 255, 99, -5, 0)},
        {"high": ones(255, 101, 254, 900, -5, 0)},
        ["reflectance-scale reject image: values up to 255, as on a scale of 0..255 | 0..10000"],
    ),
    (
        "too bright",
        moments([1000, 25_000, 1500, 20, -12, 0], [200, 200, 300, 10, 3, 0]),
        moments([1000, 25_001, 1500, 20, -12, 0], [200, 200, 300, 10, 3, 0]),
        ["reflectance-scale reject image: a mean of 2.5e+04, reflectance 2.5 | 0..10000"],
    ),
    (
        "impulses",
        {"texture": replace(TEXTURE, impulses=np.array([0, 100, 7]))},
        {"texture": replace(TEXTURE, impulses=np.array([0, 101, 7]))},
        ["salt-and-pepper warn image: 25.2% of the pixels stand out from all neighbours | 25.0%"],
    ),
    (
        "nothing finite",
        {"nonfinite": 0},
        {"nonfinite": 1},
        ["nan reject image: 0.25% of the pixels | none (nan: reject)"],
    ),
]


@pytest.mark.parametrize(("within", "beyond", "due"), [row[1:] for row in BEYOND], ids=[row[0] for row in BEYOND])
def test_a_check_of_the_image_speaks_just_beyond_its_limit(
    within: dict[str, Any], beyond: dict[str, Any], due: list[str]
) -> None:
    silent = {line.split()[0] for line in said(with_(**within))}
    assert not silent & {due[0].split()[0]}
    assert said(with_(**beyond)) == due


CASES: list[tuple[dict[str, Any], str]] = [
    *((row[2], row[3][0].split()[0]) for row in BEYOND),
    ({"present": 0}, "all-nodata"),
    ({"low": GOOD.high}, "constant-image"),
    ({**moments([0] * 6, [0] * 6)}, "blank"),
    ({"texture": replace(TEXTURE, greys=np.ones((3, 256), int), jumps=np.full(3, 99))}, "wrapped-8-bit"),
    ({"texture": replace(TEXTURE, immerkaer=np.full(3, 1e6))}, "noise"),
    ({"rows": (replace(GOOD.rows[0], flat_rows=np.arange(SIDE) % 2 == 1),)}, "dropped-lines"),
    ({"columns": SIDE * np.resize([0.0, 90.0], (3, SIDE))}, "stripes"),
]


@pytest.mark.parametrize(("changes", "code"), CASES, ids=[code for _, code in CASES])
@pytest.mark.parametrize("level", ["reject", "warn"])
def test_a_recipe_decides_what_a_finding_about_an_image_leads_to(
    changes: dict[str, Any], code: str, level: str
) -> None:
    limits = Limits.model_validate(LIMITS.model_dump() | {"levels": {code: level}})
    found = image_findings(with_(**changes), header(), RECIPE.bands, limits)
    assert {reason.level.value for reason in found if reason.code == code} == {level}


@pytest.mark.parametrize("level", ["reject", "warn"])
@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("mask-range", {"labels": replace(GOOD.labels, out_of_range=N)}),
        ("mask-sum", {"labels": replace(GOOD.labels, bad_sum=N)}),
        ("mask-zero", {"labels": replace(GOOD.labels, zero=N)}),
        ("mask-empty", {"labels": replace(GOOD.labels, labelled=0)}),
        ("nodata-class", {"labels": replace(GOOD.labels, tagged=1)}),
        ("unknown-index", {"labels": replace(GOOD.labels, unknown=1, values=((7, 1),))}),
        ("single-class", {"single": True}),
        ("misaligned", {"fit": Fit(100, np.zeros(len(SHIFTS)))}),
    ],
)
def test_a_recipe_decides_what_a_finding_about_a_mask_leads_to(code: str, changes: dict[str, Any], level: str) -> None:
    limits = Limits.model_validate(LIMITS.model_dump() | {"levels": {code: level}})
    found = mask_findings(with_(**changes), RECIPE.mask, limits)
    assert {reason.level.value for reason in found if reason.code == code} == {level}


def test_remedies_name_the_line_that_mends_a_mask() -> None:
    unknown = replace(GOOD.labels, unknown=5, values=((7, 3),))
    (reason,) = mask_findings(with_(labels=unknown), RECIPE.mask, LIMITS)
    assert reason.remedy == with_codes(unknown, RECIPE.mask) and "7: NAME" in reason.remedy
    beyond = with_(labels=replace(GOOD.labels, out_of_range=N))
    plain = mask_findings(beyond, RECIPE.mask, LIMITS)[0].remedy
    assert plain == "make the mask again"
    rest = MaskRules(classes=("built", "green"), rest="built")
    assert "`whole: 255` under `mask`" in mask_findings(beyond, rest, LIMITS)[0].remedy
    known = MaskRules(classes=("built", "green"), rest="built", whole=255)
    assert mask_findings(beyond, known, LIMITS)[0].remedy == plain


def test_bands_that_are_no_reflectances_are_neither_blank_nor_on_a_scale() -> None:
    bands = tuple(Band(name=f"A{i}", role=Role.EMBEDDING, decode="signed_square") for i in range(6))
    apart = {"low": np.arange(6) - 200.0, "high": np.arange(6) / 10}
    assert said(with_(**moments([0.01] * 6, [0.2] * 6), **apart), header("float32"), bands=bands) == [
        "undecodable reject image: A0 and the like hold up to 200 as float32 | -127 to 127, which `decode: "
        "signed_square` makes values of"
    ]
    dark = with_(high=ones(0, 0, 0, 0, -5, 0), low=ones(-9, -8, -7, -6, -20, 0))
    assert [line.split()[0] for line in said(dark)] == []


def test_an_image_of_nothing_is_said_to_hold_nothing() -> None:
    due = "all-nodata reject image: none of 400 pixels holds anything | at least one"
    assert said(with_(present=0)) == [due]
    nan = "nan warn image: 100.00% of the pixels | none (nan: mask)"
    assert said(with_(present=0, nonfinite=N), limits=Limits(nan=NanPolicy.MASK)) == [nan, due]


def test_one_value_in_each_measured_band_is_no_picture() -> None:
    due = ["constant-image reject image: one value in each measured band | a picture"]
    assert said(with_(low=GOOD.high)) == due
    assert [line.split()[0] for line in said(with_(low=at(GOOD.high, 4, -20)))] == ["constant-band"] * 4
    two = with_(low=GOOD.high, present=2, pixels=2, content=2, texture=replace(TEXTURE, pixels=2))
    assert said(two)[0] == due[0]
    assert said(with_(low=GOOD.high, present=1, pixels=1, content=1, texture=replace(TEXTURE, pixels=1))) == [
        "reflectance-scale reject image: a mean of 6e+05, reflectance 60 | 0..10000"
    ]


@pytest.mark.parametrize(
    ("mean", "deviation", "dtype", "high", "says"),
    [
        (1.0, 0, "uint16", 4000, None),
        (0.99, 9.9, "uint16", 4000, "mean of the reflectance bands 0.99 | 1"),
        (0.99, 10.1, "uint16", 4000, None),
        (-0.5, 9.9, "int16", 4000, "mean of the reflectance bands -0.5 | 1"),
        (-500, 20, "int16", 4000, None),
        (0.00009, 0, "float32", 2, "mean of the reflectance bands 9e-05 | 0.0001"),
        (0.00011, 0, "float32", 2, None),
        (0.00011, 0, "float32", 2.1, "mean of the reflectance bands 0.00011 | 1"),
        (0.00011, 0, "float32", 0.001, "mean of the reflectance bands 0.00011 | 1"),
        (0.00011, 0, "uint16", 2, "mean of the reflectance bands 0.00011 | 1"),
    ],
)
def test_blank_is_what_has_next_to_no_reflectance_on_its_own_scale(
    mean: float, deviation: float, dtype: str, high: float, says: str | None
) -> None:
    levels = moments([mean] * 4 + [-12, 0], [deviation] * 4 + [3, 0])
    limits = Limits(mean_min=1)
    found = [
        line for line in said(with_(high=ones(*[high] * 4, -5, 0), **levels), header(dtype), limits) if "bla" in line
    ]
    assert found == ([] if says is None else [f"blank reject image: {says}"])


@pytest.mark.parametrize(
    ("dtype", "high", "scale", "of"),
    [
        ("float32", 2, 1000, "0..1 | 0..1000"),
        ("float32", 2.5, 1000, "0..255 | 0..1000"),
        ("uint8", 2, 1000, "0..255 | 0..1000"),
        ("uint8", 300, 1000, "0..255 | 0..1000"),
        ("uint16", 300, 1000, None),
        ("float32", 2, 999, None),
    ],
)
def test_a_scale_is_told_from_the_brightest_pixel_where_1000_or_more_is_white(
    dtype: str, high: float, scale: float, of: str | None
) -> None:
    dim = with_(high=ones(high, 1, 1, 900, -5, 0), **moments([900, 900, 900, 20, -12, 0], [200, 200, 200, 10, 3, 0]))
    found = said(dim, header(dtype), Limits(reflectance_scale=scale))
    assert found == (
        [] if of is None else [f"reflectance-scale reject image: values up to {high:g}, as on a scale of {of}"]
    )
    assert said(dim, header(dtype), Limits(reflectance_scale=None)) == []


@pytest.mark.parametrize(
    ("filled", "jumps", "pixels", "told"),
    [
        (97, 31, 400, "38% | 3%"),
        (96, 31, 400, None),
        (97, 30, 400, None),
        (193, 11, 400, "75% | 1%"),
        (193, 10, 400, None),
        (192, 11, 400, None),
        (256, 31, 399, None),
    ],
)
def test_values_that_were_cut_to_8_bits_fill_the_range_and_jump(
    filled: int, jumps: int, pixels: int, told: str | None
) -> None:
    greys = np.zeros((3, 256), int)
    greys[:, 0], greys[1, :filled] = 7, 3
    texture = replace(TEXTURE, greys=greys, jumps=np.array([0, jumps + 3, jumps - 3]), pairs=(1000, 380), pixels=pixels)
    # What is certain to be wrapped is told so, and not by its scale as well.
    found = said(with_(texture=texture, high=ones(200, 200, 200, 90, -5, 0)))
    if told is None:
        assert found == ["reflectance-scale reject image: values up to 200, as on a scale of 0..255 | 0..10000"]
        return
    even, often = told.split(" | ")
    assert found == [
        f"wrapped-8-bit reject image: values fill 0..255 to {even}, and {often} of neighbours are more than half the "
        "range apart | 75% and 3%"
    ]


def test_cloud_is_not_told_by_brightness_where_an_offset_makes_all_of_it_bright() -> None:
    bright = with_(bright_cloud=200.0)
    for level, spoken in ((Level.WARN, False), (Level.REPAIR, True)):
        offset = finding(Code.OFFSET, "image", "x", level=level)
        assert bool(said(bright, header("uint16", offset))) == spoken
        assert said(with_(flagged=200, has_flags=True), header("uint16", offset))


def test_noise_is_told_where_it_is_loud_and_rejected_where_neighbours_are_strangers() -> None:
    def noisy(**changes: Any) -> list[str]:
        texture = replace(TEXTURE, immerkaer=np.array([1e6, 5e5, 7e5]), **changes)
        return said(with_(texture=texture), limits=Limits(noise_share=0.25, noise_correlation=0.5))

    of = np.sqrt(np.pi / 2) * 5e5 / (6 * 324) / 200
    words = f"noise is {of:.0%} of the deviation at best, and neighbours correlate by"
    limit = "25% at most, rejected below 0.5"
    assert noisy() == [f"noise warn image: {words} 0.99 | {limit}"]
    apart = np.full(3, 380 * 60_000.0)
    assert noisy(across=apart, down=apart) == [f"noise reject image: {words} 0.25 | {limit}"]
    faint = replace(TEXTURE, immerkaer=np.array([1e6, 1.5e5, 7e5]), square=np.full(3, N * 400.0))
    assert said(with_(texture=faint)) == []  # 97 of 10,000: the sensor's own
    assert said(with_(texture=replace(faint, pixels=399))) == []
    # Of a scale that nobody knows, the brightest value stands for white.
    unknown = Limits(reflectance_scale=None)
    assert said(with_(texture=faint), limits=unknown)[0].startswith("noise ")
    assert said(with_(texture=faint, high=GOOD.high * 3), limits=unknown) == []


def test_lines_that_hold_one_value_are_counted_between_lines_that_do_not() -> None:
    def lines(*flat: int, **changes: Any) -> list[str]:
        row = replace(GOOD.rows[0], flat_rows=np.isin(np.arange(SIDE), flat))
        return said(with_(rows=(row,), **changes))

    assert lines(3, 4, 5, 9, 10) == []
    assert lines(3, 4, 5, 9, 10, 18) == ["dropped-lines warn image: 6 of 20 lines | 25.0%"]
    assert lines(0, 1, 2, 3, 4, 19) == lines(*range(20)) == lines(3, 4, 5, 9, 10, 18, empty=1) == []


@pytest.mark.parametrize(("axis", "name"), [(0, "columns"), (1, "rows")])
def test_stripes_are_means_of_lines_that_jump(axis: int, name: str) -> None:
    wave = np.zeros((3, SIDE))
    wave[2] = np.resize([0, 10], SIDE)  # second differences of 20: the jump is sqrt(400 / 3)
    row = replace(GOOD.rows[0], means=wave.astype(np.float32))
    striped: dict[str, Any] = {"rows": (row,)} if axis else {"columns": wave * SIDE}
    ratio = np.sqrt(400 / 3) / np.sqrt(800)
    due = [f"stripes warn image: {name}: their means jump by {ratio:.2f} of what pixels do | 0.4"]
    assert said(with_(**striped), limits=Limits(stripe_max=0.4)) == due
    assert said(with_(**striped), limits=Limits(stripe_max=ratio + 1e-9)) == []
    assert said(with_(**striped, present=N - 1), limits=Limits(stripe_max=0.4)) == []
    assert said(with_(**striped, texture=replace(TEXTURE, pixels=399)), limits=Limits(stripe_max=0.4)) == []
    faint = replace(TEXTURE, across=np.full(3, 380 * 0.5), down=np.full(3, 380 * 0.5))
    assert len(said(with_(**striped, texture=faint))) == 1
    still = replace(TEXTURE, across=np.zeros(3), down=np.zeros(3))
    assert said(with_(**striped, texture=still), limits=Limits(stripe_max=0.4)) == []


def labelled(**changes: Any) -> list[str]:
    """Findings about a mask whose labels were counted so."""
    labels = replace(GOOD.labels, **changes)
    found = mask_findings(with_(labels=labels), RECIPE.mask, LIMITS)
    return [f"{r.code} {r.level.value} {r.file}: {r.found} | {r.limit}" for r in found]


@pytest.mark.parametrize(
    ("within", "beyond", "due"),
    [
        (
            {"out_of_range": 100},
            {"out_of_range": 101},
            "mask-range reject mask: 25.25% of the pixels | 25.00% of the pixels outside 0..1",
        ),
        (
            {"bad_sum": 100},
            {"bad_sum": 101, "worst_sum": 1.5},
            "mask-sum reject mask: fractions of 25.25% of the pixels sum to other than 1, up to 1.5 | 1 within 0.02",
        ),
        ({"nan": 0}, {"nan": 1}, "mask-nan repair mask: 0.25% of the pixels | a declared value for no label"),
        ({"zero": 0}, {"zero": 1}, "mask-zero warn mask: 0.25% of the pixels | fractions that sum to 1"),
        ({"labelled": 1}, {"labelled": 0}, "mask-empty reject mask: no pixel has a label | at least one"),
        (
            {"tagged": 0},
            {"tagged": 1},
            "nodata-class warn mask: the nodata tag stands in 0.25% of the pixels and is what the recipe takes for "
            "a label | a value that is no class",
        ),
        (
            {"unknown": 0},
            {"unknown": 5, "values": ((7, 3), (9, 2))},
            "unknown-index reject mask: 7 in 0.75%, 9 in 0.50% of the pixels | 0 to 1",
        ),
    ],
)
def test_a_check_of_the_mask_speaks_just_beyond_its_limit(
    within: dict[str, Any], beyond: dict[str, Any], due: str
) -> None:
    assert labelled(**within) == []
    assert labelled(**beyond) == [due]
    assert labelled(**beyond, pixels=0) == []


def test_one_class_alone_is_named() -> None:
    found = mask_findings(with_(single=True, class_sum=ones(0, 400)), RECIPE.mask, LIMITS)
    assert [(r.code, r.found, r.limit) for r in found] == [("single-class", "all of it is green", "two classes")]
    empty = replace(GOOD.labels, labelled=0)
    assert [r.code for r in mask_findings(with_(single=True, labels=empty), RECIPE.mask, LIMITS)] == ["mask-empty"]


def fitting(here: float, best: float = 0.0, where: int = 5, **changes: Any) -> list[str]:
    sums = at(at(np.zeros(len(SHIFTS)), where, 100 * best), 0, 100 * here)
    found = mask_findings(with_(fit=Fit(100, sums), **changes), RECIPE.mask, LIMITS)
    return [f"{r.code} {r.level.value} {r.file}: {r.found} | {r.limit}" for r in found]


def test_labels_that_fit_another_place_much_better_are_misaligned() -> None:
    down, right = SHIFTS[5]
    words = f"moved by {down} rows and {right} columns | 0.05 in place, and best there"
    say = "misaligned warn pair: edges of labels and image correlate by"
    assert fitting(0.05) == fitting(0.5, 0.57) == []
    assert fitting(0.04, 0.04, 0) == [f"{say} 0.04 in place, by 0.04 moved by 0 rows and 0 columns" + words[-32:]]
    assert fitting(0.5, 0.59) == [f"{say} 0.50 in place, by 0.59 {words}"]
    for hidden in ({"bright_cloud": 101.0}, {"flagged": 101, "has_flags": True}, {"content": 299}):
        assert fitting(0.04, **hidden) == []
    for seen in ({"bright_cloud": 100.0}, {"flagged": 300}, {"content": 300}):
        assert fitting(0.04, **seen) != []
    assert mask_findings(with_(fit=Fit(0, np.zeros(len(SHIFTS)))), RECIPE.mask, LIMITS) == []


def test_the_manifest_holds_what_was_measured() -> None:
    dark = np.zeros((4, DARK_BINS), int)
    dark[:, 10], dark[:, 40] = 100, 300
    seen = with_(
        valid=200,
        content=300,
        labels=replace(GOOD.labels, labelled=100, values=((1, 40), (3, 4))),
        has_flags=True,
        flagged=20,
        dark=dark,
    )
    about = replace(header(), scaling=((1, 0), (0.1, 0), (1, 5), (1, 0), (1, 0), (1, 0)), pixel_metres=10.1234567)
    entry = judge(about, seen, RECIPE.bands, RECIPE.mask, LIMITS, stamp="a stamp")
    assert (entry.image, entry.mask, entry.group, entry.time) == ("i.tif", "m.tif", "g", "1")
    assert (entry.verdict, entry.stamp, entry.shape, entry.dtype) == (
        Verdict.ACCEPTED,
        "a stamp",
        (6, 20, 20),
        "uint16",
    )
    assert (entry.crs, entry.transform) == ("EPSG:32618", tuple(IDENTITY))
    assert entry.checksum is not None and entry.image_checksum is not None and entry.checksum != entry.image_checksum
    due = {"valid": 0.5, "content": 0.75, "labelled": 0.25, "noise_correlation": 0.99, "label_fit": 0.5, "cloud": 0.05}
    due |= dict(zip([f"mean.{name}" for name in NAMES], (1000, 1200, 1500, 20, -12, 0), strict=True))
    due |= dict(zip([f"std.{name}" for name in NAMES], (200, 200, 300, 10, 3, 0), strict=True))
    due |= {f"dark.{name}": 0.02625 for name in NAMES[:4]} | {f"middle.{name}": 0.10125 for name in NAMES[:4]}
    due |= {"share.built": 0.25, "share.green": 0.75, "code.1": 0.1, "code.3": 0.01}
    due |= {"pixel_metres": 10.1235, "scale.green": 0.1, "offset.green": 0, "scale.red": 1, "offset.red": 5}
    assert entry.measures == due
    unread = judge(header(), None, RECIPE.bands, RECIPE.mask, LIMITS)
    assert (unread.measures, unread.checksum, unread.image_checksum, unread.stamp) == ({}, None, None, None)
    nowhere = judge(replace(header(), shape=None), None, RECIPE.bands, RECIPE.mask, LIMITS)
    assert nowhere.shape is None and nowhere.transform is None
    assert judge(header(), GOOD, RECIPE.bands, RECIPE.mask, LIMITS).measures["cloud"] == 0
    by_brightness = judge(header(), with_(bright_cloud=40.0), RECIPE.bands, RECIPE.mask, LIMITS)
    assert by_brightness.measures["cloud"] == 0.1
    assert "cloud" not in judge(header(), with_(bright_cloud=-400.0), RECIPE.bands, RECIPE.mask, LIMITS).measures
