"""The recipes in pipelines/ say what the code says."""

from __future__ import annotations

from pathlib import Path

from greenschemas.bands import HLS_19, SENTINEL2_L1C_19
from greenschemas.choices import MaskKind
from greenschemas.recipe import Recipe, load_recipe

PIPELINES = Path(__file__).parents[2] / "pipelines"


def test_the_users_layout_written_out_is_the_default() -> None:
    assert load_recipe(PIPELINES / "sentinel2_l1c_19.yaml").about_data() == Recipe().about_data()
    assert load_recipe(PIPELINES / "slovenia.yaml").bands == SENTINEL2_L1C_19


def test_hls_has_its_bands_with_fmask_as_a_mask_and_masks_of_indices() -> None:
    recipe = load_recipe(PIPELINES / "hls.yaml")
    assert recipe.bands == HLS_19
    assert (recipe.mask.kind, recipe.mask.unlabelled) == (MaskKind.INDEX, 255)
