"""The offset of baseline 04.00 by comparison: found on like ground, never where bright ground explains as much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenprep.checks.offsets import mixed_offsets, mixed_scales
from greenschemas.bands import SENTINEL2_L1C_19, Band
from greenschemas.choices import OffsetPolicy
from greenschemas.limits import Limits
from greenschemas.manifest import Entry, Verdict

BANDS = tuple(band for band in SENTINEL2_L1C_19[:13] if band.common != "cirrus")
FOUR = tuple(BANDS[i] for i in (1, 2, 3, 7))
FIELDS = np.array([0.03, 0.035, 0.05, 0.03, 0.06, 0.15, 0.18, 0.19, 0.21, 0.2, 0.1, 0.05])
"""Darkest reflectances of fields and trees, as Level-2A has them; of sand below."""
SAND = np.array([0.13, 0.17, 0.25, 0.33, 0.36, 0.37, 0.38, 0.39, 0.4, 0.4, 0.4, 0.4])
CLOUD = np.array([0.11, 0.12, 0.11, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12, 0.03, 0.14, 0.125])
"""What a real thin cloud adds to the darkest pixels: nearly the same everywhere, but for the water vapour band."""


def entry(number: int, dark: np.ndarray, bands: Sequence[Band] = BANDS, group: str = "", spread: float = 0.04) -> Entry:
    measures = {f"dark.{band.name}": float(value) for band, value in zip(bands, dark, strict=True)}
    measures |= {f"middle.{band.name}": float(value + spread) for band, value in zip(bands, dark, strict=True)}
    name = f"{number:03d}.tif"
    return Entry(image=name, mask=None, group=group or name, time="1", verdict=Verdict.ACCEPTED, measures=measures)


def named(
    entries: Sequence[Entry], bands: Sequence[Band] = BANDS, policy: OffsetPolicy = OffsetPolicy.REPAIR
) -> dict[int, tuple[str, str]]:
    found = mixed_offsets(entries, range(len(entries)), bands, Limits(offset=policy))
    return {i: (reason.code, reason.level.value) for i, reason in found}


@given(st.sets(st.integers(0, 11), max_size=9), st.integers(0, 2**32 - 1))
def test_on_like_ground_those_that_are_shifted_are_named_and_no_others(shifted: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ground = [FIELDS + rng.normal(0, 0.004, 12) for _ in range(12)]
    entries = [entry(i, dark + 0.1 * (i in shifted)) for i, dark in enumerate(ground)]
    assert named(entries) == dict.fromkeys(sorted(shifted), ("mixed-offsets", "reject"))


def test_sand_among_fields_and_a_cloud_over_them_are_no_offset() -> None:
    fields = [entry(i, FIELDS + 0.001 * i) for i in range(6)]
    assert named([*fields, entry(6, SAND), entry(7, FIELDS + CLOUD, spread=0.14)]) == {}


def test_with_few_bands_only_the_same_ground_is_evidence_enough_to_refuse() -> None:
    dark = FIELDS[[1, 2, 3, 7]]
    plain = [entry(i, dark + 0.001 * i, FOUR, group=f"g{i}") for i in range(6)]
    other, same = entry(6, dark + 0.1, FOUR, group="g9"), entry(6, dark + 0.1, FOUR, group="g2")
    assert named([*plain, same], FOUR) == {6: ("mixed-offsets", "reject")}
    assert named([*plain, other], FOUR) == {6: ("likely-offset", "warn")}


@pytest.mark.parametrize(
    ("ground", "policy", "due"),
    [
        ([FIELDS + 0.1] * 3, OffsetPolicy.REPAIR, {0, 1, 2}),
        ([FIELDS + 0.1], OffsetPolicy.REJECT, {0}),
        ([FIELDS + 0.1, SAND + 0.1], OffsetPolicy.REPAIR, {0, 1}),
        ([FIELDS + 0.1] * 3, OffsetPolicy.KEEP, set()),
        ([SAND] * 3, OffsetPolicy.REPAIR, set()),
        ([FIELDS] * 3, OffsetPolicy.REPAIR, set()),
    ],
)
def test_a_collection_that_carries_it_throughout_is_told_so(
    ground: list[np.ndarray], policy: OffsetPolicy, due: set[int]
) -> None:
    entries = [entry(i, dark) for i, dark in enumerate(ground)]
    assert named(entries, policy=policy) == dict.fromkeys(sorted(due), ("likely-offset", "warn"))


def test_nothing_is_said_where_nothing_was_measured_or_the_scale_is_unknown() -> None:
    bare = entry(0, FIELDS + 0.1).model_copy(update={"measures": {}})
    assert named([bare, bare]) == {}
    both = [entry(0, FIELDS, group="g"), entry(1, FIELDS + 0.1, group="g")]
    assert list(mixed_offsets(both, [0, 1], BANDS, Limits(reflectance_scale=None))) == []


def of_means(number: int, means: np.ndarray, bands: Sequence[Band]) -> Entry:
    measures = {f"mean.{band.name}": float(value) for band, value in zip(bands, means, strict=True)}
    low, high = 0.00125, 0.39875  # Between which medians are told apart.
    measures |= {
        f"middle.{band.name}": min(max(float(v) / 1e4, low), high) for band, v in zip(bands, means, strict=True)
    }
    name = f"{number:03d}.tif"
    return Entry(image=name, mask=None, group=name, time="1", verdict=Verdict.ACCEPTED, measures=measures)


def scales(entries: Sequence[Entry], bands: Sequence[Band], limits: Limits) -> dict[int, tuple[str, str]]:
    """{index: (level, what was found)}."""
    found = mixed_scales(entries, range(len(entries)), bands, limits)
    return {i: (reason.level.value, reason.found) for i, reason in found if reason.code == "mixed-scales"}


@pytest.mark.parametrize(("factor", "cause"), [(0.1, "reflectance x 1000"), (6.5535, "16 bits"), (0.01, "in percent")])
@given(odd=st.sets(st.integers(0, 11), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_files_on_another_scale_than_most_are_named_and_no_others(
    factor: float, cause: str, odd: set[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ground = [FIELDS * 12_000 * rng.uniform(0.93, 1.07) * rng.uniform(0.95, 1.05, 12) for _ in range(12)]
    entries = [of_means(i, mean * (factor if i in odd else 1), BANDS) for i, mean in enumerate(ground)]
    found = scales(entries, BANDS, Limits())
    assert found.keys() == odd
    assert all(level == "reject" and cause in what for level, what in found.values())


@given(factor=st.floats(0.02, 0.13), rows=st.integers(4, 9))
def test_a_collection_too_dim_for_land_is_told_so_file_by_file(factor: float, rows: int) -> None:
    entries = [of_means(i, FIELDS * 10_000 * factor * (1 + i / 100), BANDS) for i in range(rows)]
    found = list(mixed_scales(entries, range(rows), BANDS, Limits()))
    assert [(i, reason.code, reason.level.value) for i, reason in found] == [
        (i, "reflectance-scale", "warn") for i in range(rows)
    ]
    assert all("likely another scale" in reason.found for _, reason in found)
    assert list(mixed_scales(entries, range(rows), BANDS, Limits(reflectance_scale=1000))) == []


def test_few_bands_only_warn_and_cloud_sand_or_few_files_say_nothing_of_scales() -> None:
    plain = [of_means(i, FIELDS * (10_000 + 50 * i), BANDS) for i in range(6)]
    others = [of_means(6, SAND * 10_000, BANDS), of_means(7, (FIELDS + 3 * CLOUD) * 10_000, BANDS)]
    assert scales([*plain, *others], BANDS, Limits()) == {}
    holed = dict(plain[5].measures) | {f"mean.{band.name}": 52_000 * FIELDS[i] for i, band in enumerate(BANDS)}
    holed |= {f"middle.{band.name}": 1.5 * FIELDS[i] for i, band in enumerate(BANDS)}
    assert scales([*plain[:5], plain[5].model_copy(update={"measures": holed})], BANDS, Limits()) == {}
    assert scales([*plain[:2], of_means(2, FIELDS * 1000, BANDS)], BANDS, Limits()) == {}
    few = [of_means(i, FIELDS[[1, 2, 3, 7]] * (1000 if i == 5 else 10_000), FOUR) for i in range(6)]
    assert {i: level for i, (level, _) in scales(few, FOUR, Limits()).items()} == {5: "warn"}
    assert scales(few, FOUR, Limits(reflectance_scale=None)) == {}
