"""Presets and what they cost."""

from __future__ import annotations

import pytest
import torch

from greenschemas.errors import ConfigError
from greentrain.nets.presets import PRESETS, build_model, cost
from greentrain.nets.vmunet import ModelError


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_maps_bands_to_classes(preset: str) -> None:
    with torch.device("meta"):
        model = build_model(preset, 7, 3)
        assert model(torch.empty(2, 7, 40, 64)).shape == (2, 3, 40, 64)


def test_base_is_the_published_net() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build_model("base", 19, 5).parameters()) == 27_452_237


def test_overrides_replace_what_the_preset_says() -> None:
    model = build_model("tiny", 3, 2, d_state=7, activation="gelu")
    assert model.layers[0].blocks[0].self_attention.A_logs.shape[1] == 7  # type: ignore[union-attr, index]


def test_cost_of_a_net_worked_by_hand() -> None:
    model = build_model("tiny", 3, 2, dims=(8,), depths=(1,), depths_decoder=(0,), d_state=2)
    pixels, inner, rank, states = 16, 16, 1, 2  # 16 x 16 pixels after the patch embedding's 4 x 4
    block = 8 * 2 * inner + 9 * inner + inner * 8 + 4 * inner * (rank + 2 * states) + 4 * inner * rank
    block += 3 * 4 * inner * states + 4 * inner
    ends = 3 * 16 * 8 + 8 * 32 + 16 * 2 * 2
    assert cost(model, 3, 16).multiply_adds == pixels * (block + ends)
    assert cost(model, 3, 16).parameters == sum(p.numel() for p in model.parameters())


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean `small`"):
        build_model("smal", 3, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_argument_that_a_preset_does_not_take_is_refused_by_name(preset: str) -> None:
    with pytest.raises(ConfigError, match=rf"model.dropt: the preset `{preset}` has no such argument"):
        build_model(preset, 3, 2, dropt=0.1)


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(ModelError):
        build_model("tiny", 0, 2)
