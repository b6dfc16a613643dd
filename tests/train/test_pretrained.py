"""Loading made-up checkpoints of the published keys and shapes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from greentrain.nets.presets import build_model
from greentrain.nets.pretrained import STEM, STEMS, PretrainedError, adapt_stem, load_pretrained, read_weights
from greentrain.nets.vmunet import VMUNet

PLAN: dict[str, Any] = {"dims": (8, 16), "depths": (1, 2), "depths_decoder": (2, 1), "d_state": 4}
S2 = ("coastal", "blue", "green", "red", "nir", None)


def net(bands: int = 3, classes: int = 2, seed: int = 1, **changes: Any) -> VMUNet:
    torch.manual_seed(seed)
    return VMUNet(bands, classes, **(PLAN | changes))


def vmamba(depths: tuple[int, ...] = (1, 2)) -> dict[str, Tensor]:
    """The keys of a VMamba of the first version: the encoder, and a classifier."""
    encoder = net(seed=0, depths=depths).state_dict()
    kept = {key: value for key, value in encoder.items() if key.startswith(("patch_embed", "layers."))}
    return kept | {"classifier.norm.weight": torch.ones(16), "classifier.head.weight": torch.ones(1000, 16)}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_vm_unet_s_checkpoint_is_taken_whole(tmp_path: Path) -> None:
    source, target = net(seed=0), net()
    wrapped = {"model": {f"vmunet.{key}": value for key, value in source.state_dict().items()}}
    report = load_pretrained(target, saved(tmp_path / "a.pth", wrapped), bands=("red", "green", "blue"))
    assert (report.loaded, report.encoder, report.fresh, report.unused, report.adapted) == (1, 1, (), (), ())
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_a_vmamba_fills_the_encoder_and_the_mirrored_decoder(tmp_path: Path) -> None:
    weights, target = vmamba(), net()
    save_file(weights, tmp_path / "a.safetensors")
    report = load_pretrained(target, tmp_path / "a.safetensors", bands=("red", "green", "blue"))
    own = target.state_dict()
    assert report.encoder == 1
    assert torch.equal(own["layers_up.0.blocks.1.ln_1.weight"], weights["layers.1.blocks.1.ln_1.weight"])
    assert torch.equal(
        own["layers_up.1.blocks.0.self_attention.A_logs"], weights["layers.0.blocks.0.self_attention.A_logs"]
    )
    assert report.unused == ("classifier.head.weight", "classifier.norm.weight")
    assert {key.split(".")[0] + key.split(".")[-2] for key in report.fresh} >= {"final_upexpand", "layers_upexpand"}
    assert all("upsample" in key or key.startswith("final") for key in report.fresh)


def test_full_size_checkpoints_fill_as_many_keys_as_published(tmp_path: Path) -> None:
    with torch.device("meta"):
        target = VMUNet(3, 9)
    for depths, keys in (((2, 2, 9, 2), 208), ((2, 2, 27, 2), 446 - 2 - 2)):
        with torch.device("meta"):
            encoder = VMUNet(3, 9, depths=depths).state_dict()
        kept = [key for key in encoder if key.startswith(("patch_embed", "layers."))]
        assert len(kept) == keys
    assert sum(key.startswith(("patch_embed", "layers.")) for key in target.state_dict()) == 117


def test_bands_find_their_weights_by_name(tmp_path: Path) -> None:
    weights, target = vmamba(), net(6)
    report = load_pretrained(target, saved(tmp_path / "a.pth", weights), bands=S2)
    assert report.adapted == (STEM,)
    stem, old = target.state_dict()[STEM], weights[STEM]
    scale = (3 / 6) ** 0.5
    for band, plane in ((1, old[:, 2]), (2, old[:, 1]), (3, old[:, 0]), (0, old.mean(1)), (5, old.mean(1))):
        torch.testing.assert_close(stem[:, band], scale * plane)


def test_three_named_bands_in_another_order_are_reordered(tmp_path: Path) -> None:
    weights, target = vmamba(), net(3)
    load_pretrained(target, saved(tmp_path / "a.pth", weights), bands=("blue", "green", "red"))
    torch.testing.assert_close(target.state_dict()[STEM], weights[STEM].flip(1))


@pytest.mark.parametrize("stem", STEMS)
def test_each_stem_keeps_its_promise(stem: Any) -> None:
    old = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    new = adapt_stem(old, S2, stem)
    assert new.shape == (64, 6, 4, 4)
    assert torch.equal(new, adapt_stem(old, S2, stem))
    if stem == "copy-rgb":
        assert torch.equal(new[:, 1:4], old.flip(1))
        assert not new[:, [0, 4, 5]].any()
    if stem in ("repeat", "random"):
        assert new.square().sum().item() == pytest.approx(old.square().sum().item(), rel=0.1)


def test_a_head_for_other_classes_stays_fresh(tmp_path: Path) -> None:
    target = net(classes=7)
    report = load_pretrained(
        target, saved(tmp_path / "a.pth", net(seed=0).state_dict()), bands=("red", "green", "blue")
    )
    assert sorted(report.fresh) == list(report.unused) == ["final_conv.bias", "final_conv.weight"]
    assert "unused (2): final_conv.bias, final_conv.weight" in str(report)


def test_too_little_is_an_error_unless_allowed(tmp_path: Path) -> None:
    path, bands = saved(tmp_path / "a.pth", vmamba()), ("red", "green", "blue")
    deep = {"depths": (9, 9)}
    with pytest.raises(PretrainedError, match=r"fills \d+.\d% of the encoder"):
        load_pretrained(net(**deep), path, bands=bands)
    assert load_pretrained(net(**deep), path, bands=bands, allow_partial=True).encoder < 0.9


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["layers.0.blocks.0.op.x_proj_weight"], "a later VMamba"),
        (["layers.0.blocks.0.mixer.A_log"], "plain Mamba blocks"),
        (["layers.0.blocks.0.attn.relative_position_bias_table"], "a Swin Transformer"),
        (["conv1.weight", "fc.bias"], "its keys begin conv1.weight, fc.bias"),
    ],
)
def test_another_network_is_recognised_and_named(tmp_path: Path, keys: list[str], message: str) -> None:
    path = saved(tmp_path / "a.pth", {key: torch.ones(1) for key in keys})
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(net(), path, bands=("red", "green", "blue"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"d_state": 8}, "Set model.d_state"), ({"dims": (12, 16)}, r"\(8, 3.*\(12, 3.*Set model.dims")],
)
def test_another_shape_names_key_shapes_and_remedy(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = saved(tmp_path / "a.pth", vmamba())
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(net(**changes), path, bands=("red", "green", "blue"))


def test_a_stem_of_another_number_of_bands_is_refused() -> None:
    with pytest.raises(PretrainedError, match="has 4 bands, the net's 6"):
        adapt_stem(torch.ones(8, 4, 4, 4), S2, "mean")


def test_a_file_that_would_run_code_is_refused_with_the_conversion(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"model": vmamba(), "config": SimpleNamespace(a=1)})
    with pytest.raises(PretrainedError, match=r"types.SimpleNamespace.*convert it once"):
        read_weights(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(PretrainedError, match="no such file"):
        read_weights(tmp_path / name)
    (tmp_path / name).write_bytes(b"<html>" * 10)
    with pytest.raises(PretrainedError):
        read_weights(tmp_path / name)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="no weights by name"):
        read_weights(saved(tmp_path / "a.pth", [1, 2]))


@pytest.mark.parametrize("preset", ["detail", "unet"])
def test_a_net_that_is_no_vm_unet_takes_none_and_says_which_do(tmp_path: Path, preset: str) -> None:
    path = saved(tmp_path / "w.pth", {"model": vmamba()})
    with pytest.raises(PretrainedError, match=r"Set `model.preset` to base, small or tiny"):
        load_pretrained(build_model(preset, 3, 2), path, bands=("red", "green", "blue"))
