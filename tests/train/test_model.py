"""VMUNet against the published network, and at every size."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from greentrain.nets import scan
from greentrain.nets.presets import build_model
from greentrain.nets.vmunet import SS2D, ModelError, VMUNet, pad_to_multiple, weight_decay_groups

FIXTURES = Path(__file__).parent / "fixtures"


def seed_by_key(model: nn.Module) -> None:
    """Fill a net with the weights that follow from its keys, as the fixtures' net was filled."""
    for key, tensor in model.state_dict().items():
        r = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
        tensor.copy_(_by_rule(key, r))


def _by_rule(key: str, r: Tensor) -> Tensor:
    if key.endswith("A_logs"):
        return torch.arange(1, r.shape[1] + 1, dtype=r.dtype).log() + 0.1 * r
    if key.endswith(("Ds", "norm.weight", "ln_1.weight")):
        return 1 + 0.1 * r
    if key.endswith("dt_projs_bias"):
        return -4.6 + r
    if key.endswith("dt_projs_weight"):
        return 0.5 * r * r.shape[-1] ** -0.5
    if key.endswith("bias"):
        return 0.02 * r
    if key.endswith("final_conv.weight"):
        return 0.2 * r
    return r * (math.prod(r.shape[1:]) if r.dim() == 4 else r.shape[-1]) ** -0.5  # division rounds otherwise


def small(**changes: Any) -> VMUNet:
    plan: dict[str, Any] = {
        "dims": (16, 32, 64, 128),
        "depths": (1, 2, 1, 1),
        "depths_decoder": (1, 1, 2, 1),
        "drop_path": 0.0,
    }
    return VMUNet(19, 5, **(plan | changes)).eval()


def tiny(bands: int = 3, classes: int = 2, **changes: Any) -> VMUNet:
    plan: dict[str, Any] = {"dims": (8, 16), "depths": (1, 1), "depths_decoder": (1, 1), "d_state": 4, "drop_path": 0.0}
    return VMUNet(bands, classes, **(plan | changes)).eval()


@pytest.fixture(scope="module")
def published() -> Any:
    return torch.load(FIXTURES / "vssm_small_keyseeded.pt", weights_only=True)


def test_keys_and_shapes_are_those_of_the_published_net(published: Any) -> None:
    found = {key: tuple(value.shape) for key, value in small().state_dict().items()}
    assert found == {key: tuple(shape) for key, shape in published["keys"].items()}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_logits_and_gradients_are_those_of_the_published_net(published: Any, backend: str) -> None:
    """As near as float32 lets two nets come that add up in different orders, on any processor.

    A sum of n terms is rounded by at most n u of its size, u = 2^-24, and by about sqrt(n) u if the roundings are
    independent (Higham: Accuracy and stability of numerical algorithms, 2002, sections 2.8 and 4.2). The longest sums
    are the scan's, over 16 x 24 positions, in ten blocks one after the other.
    """
    case = published["x64x96"]
    model = small(scan=backend)
    seed_by_key(model)
    logits = model(case["input"])
    roundings, u = 10 * 16 * 24, torch.finfo(torch.float32).eps / 2
    apart, size = (logits - case["logits"]).detach(), case["logits"].abs().max()
    assert apart.abs().max() < roundings * u * size
    assert apart.square().mean().sqrt() < math.sqrt(roundings) * u * size
    loss = logits.square().mean()
    assert loss.item() == pytest.approx(case["loss"], rel=2 * math.sqrt(roundings) * u)  # squares: twice the error
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm().item() == pytest.approx(case["grad_norms"][key], rel=roundings * u), key


def test_ss2d_gives_the_published_output_and_gradients() -> None:
    case = torch.load(FIXTURES / "ss2d_small.pt", weights_only=True)
    block = SS2D(16)
    block.load_state_dict(case["state"])
    x = case["input"].clone().requires_grad_()
    out = block(x)
    torch.testing.assert_close(out, case["out"], atol=1e-5, rtol=1e-5)
    out.backward(case["grad_out"])
    torch.testing.assert_close(x.grad, case["grad_input"], atol=1e-4, rtol=1e-4)
    for key, parameter in block.named_parameters():
        torch.testing.assert_close(parameter.grad, case["grads"][key], atol=1e-4, rtol=1e-4, msg=key)


@pytest.mark.parametrize(
    ("bands", "classes", "count"), [(3, 1, 27_427_561), (3, 9, 27_427_761), (12, 5, 27_441_485), (19, 5, 27_452_237)]
)
def test_parameters_are_as_many_as_published(bands: int, classes: int, count: int) -> None:
    with torch.device("meta"):
        model = VMUNet(bands, classes)
    assert len(model.state_dict()) == 222
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("preset", ["tiny", "detail"])
def test_an_empty_batch_gives_an_empty_batch(preset: str) -> None:
    assert build_model(preset, 3, 5).eval()(torch.zeros(0, 3, 33, 32)).shape == (0, 5, 33, 32)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 8), (16, 24), (33, 5)])
def test_any_size_comes_back_at_its_size(size: tuple[int, int]) -> None:
    assert tiny()(torch.randn(1, 3, *size)).shape == (1, 2, *size)


def test_padding_is_the_mirror_image_and_invisible_where_it_fits() -> None:
    x = torch.randn(2, 3, 13, 8)
    padded = pad_to_multiple(x, 8)
    assert torch.equal(padded, nn.functional.pad(x, (0, 0, 0, 3), mode="reflect"))
    assert pad_to_multiple(padded, 8) is padded
    model = tiny()
    assert torch.equal(model(x), model(padded)[:, :, :13])


def test_a_single_pixel_is_repeated_and_a_short_side_mirrored_again() -> None:
    assert pad_to_multiple(torch.full((1, 1, 1, 1), 7.0), 4).tolist() == [[[[7.0] * 4] * 4]]
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3).expand(1, 1, 8, 3)
    assert pad_to_multiple(row, 8)[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    model, x = tiny(), torch.randn(3, 3, 8, 16)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]), atol=1e-5, rtol=1e-5)


def test_the_scan_is_looked_up_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(scan, "selective_scan", lambda u, *_, **__: calls.append(u.shape) or u)
    tiny()(torch.randn(1, 3, 8, 8))
    assert len(calls) == 4


@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_double_precision_agrees_with_single(activation: str) -> None:
    model, x = tiny(activation=activation), torch.randn(1, 3, 16, 8)
    single = model(x)
    assert torch.allclose(single.double(), model.double()(x.double()), atol=1e-4)


def test_drop_path_rises_and_falls_and_is_off_in_evaluation() -> None:
    model = tiny(drop_path=0.3, depths=(1, 2), depths_decoder=(2, 1))
    drops = [m.p for m in model.modules() if type(m).__name__ == "DropPath"]
    assert drops == pytest.approx([0, 0.15, 0.3, 0.3, 0.15, 0])
    torch.manual_seed(0)
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_norms_biases_and_decays_are_kept_from_weight_decay() -> None:
    model = tiny()
    decays, kept = weight_decay_groups(model, 0.05)
    assert (decays["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    kept_names = {names[id(p)] for p in kept["params"]}  # type: ignore[attr-defined]
    assert {name.rsplit(".", 1)[-1] for name in kept_names} == {"bias", "weight", "A_logs", "Ds", "dt_projs_bias"}
    assert all("norm" in name or "ln_1" in name for name in kept_names if name.endswith("weight"))
    assert len(kept_names) + len(decays["params"]) == len(names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "silu or gelu"),
        ({"depths": (1,)}, "one of each a stage"),
        ({"dims": (6, 8)}, "multiple of 4"),
        ({"depths": (1, -1)}, "0 or more blocks"),
        ({"d_state": 0}, "1 or more"),
        ({"drop_path": 1.0}, "probability"),
    ],
)
def test_a_net_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(("shape", "message"), [((1, 4, 8, 8), "the net has 3 bands"), ((1, 3, 0, 8), "one row")])
def test_an_input_that_cannot_be_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny()(torch.zeros(shape))
