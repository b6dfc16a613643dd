"""The preset `detail`: any size, every parameter in use, one seed one net, and it sees single pixels and context."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from greentrain.nets.detail import DetailUNet


def _small(**changes: object) -> DetailUNet:
    torch.manual_seed(0)
    plan: dict[str, object] = {"dims": (8, 8, 16), "depths": (1, 1, 1), "depths_decoder": (1, 1), "conv_levels": 2}
    plan |= {"spectral_width": 16, **changes}
    return DetailUNet(3, 2, scan="reference", **plan)  # type: ignore[arg-type]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (16, 16), (33, 20)])
def test_logits_have_the_size_of_the_image(height: int, width: int) -> None:
    assert _small().eval()(torch.zeros(2, 3, height, width)).shape == (2, 2, height, width)


def test_every_parameter_gets_a_gradient() -> None:
    net = _small(drop_path=0.0)
    net(torch.randn(2, 3, 16, 16)).square().sum().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert dead == []


def test_two_nets_of_one_seed_are_one_net() -> None:
    image = torch.randn(1, 3, 9, 9)
    assert torch.equal(_small().eval()(image), _small().eval()(image))


def test_autocast_stays_near_float32() -> None:
    net = _small().eval()
    image = torch.randn(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(image).float()
    torch.testing.assert_close(half, net(image), atol=0.05, rtol=0.05)


def test_tiles_of_a_batch_do_not_see_each_other() -> None:
    net = _small().eval()
    image = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(net(image)[1:2], net(image[1:2]), atol=1e-5, rtol=1e-5)


def test_beyond_the_clip_an_input_says_no_more() -> None:
    net = _small(clip=2.0).eval()
    image = 3 * torch.randn(1, 3, 8, 8)
    outermost = float(net.spectral.offset[0] / net.spectral.slope[0])  # of the ramps, which see more than the rest
    assert 2.4 < outermost < 2.6
    torch.testing.assert_close(net(image), net(image.clamp(-outermost, outermost)), atol=1e-6, rtol=1e-6)
    assert not torch.equal(net(image), net(image.clamp(-2, 2)))
    assert not torch.equal(_small(clip=None).eval()(image), net(image))


def test_ramps_rise_from_0_to_1_between_normal_quantiles() -> None:
    spectral = _small(ramps=4).spectral
    slope = spectral.slope
    start = -spectral.offset / slope
    torch.testing.assert_close(start[1:], start[:-1] + 1 / slope[:-1])
    shares = torch.special.ndtr(torch.cat([start, start[-1:] + 1 / slope[-1:]]))
    torch.testing.assert_close(shares.diff(), torch.full((4,), 0.988 / 4), atol=1e-5, rtol=1e-5)


def test_a_batch_of_one_pixel_trains() -> None:
    net = _small()
    net.train()(torch.randn(1, 3, 1, 1)).sum().backward()


def test_the_scan_is_looked_up_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def count(u: Tensor, *args: object, **settings: object) -> Tensor:
        calls.append(1)
        return u

    monkeypatch.setattr("greentrain.nets.scan.selective_scan", count)
    _small().eval()(torch.zeros(1, 3, 8, 8))
    assert len(calls) == 1  # one level scans, with one block


@pytest.mark.parametrize(
    "rule",
    [lambda x: x.abs() < 0.5, lambda x: x.roll(1, dims=-1) > 0, lambda x: x > x.mean(dim=(-2, -1), keepdim=True)],
    ids=["a band's value", "the neighbour", "the tile around it"],
)
def test_it_learns(rule: Callable[[Tensor], Tensor]) -> None:
    net = _small(drop_path=0.0)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    image = torch.randn(4, 3, 16, 16) + torch.randn(4, 1, 1, 1)
    label = rule(image[:, 0]).long()
    for _ in range(50):
        loss = functional.cross_entropy(net(image), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = (net.eval()(image).argmax(dim=1) == label).float().mean().item()
    assert right > 0.85, f"{right:.2f} of the pixels are right"


def test_levels_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 dims, 2 depths, 2 decoder depths"):
        _small(depths=(1, 1))
