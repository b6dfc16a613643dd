"""The preset `detail`: a Vision Mamba U-Net that keeps every pixel.

The published VM-UNet sees 4 x 4 pixels at once and never gets the finest skip back: a street one pixel wide is
lost. Here a spectral part reads each pixel's bands by itself, two convolutions beside it their texture; convolutions
work at all levels but the coarsest, every level hands its features across, and scans with few states and a
feed-forward part look over the whole of the coarsest.

Letters: B batch, C bands, K classes, H rows, W columns, D width of a level. Inside, maps are channels-last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from greentrain.nets.batch_norm import BatchNorm
from greentrain.nets.vmunet import SS2D, DropPath, pad_to_multiple

__all__ = ["DetailUNet"]

_TAIL = 0.006
"""Share of a normal distribution below the first knot of the ramps, and above the last: 2.5 deviations."""


class _Spectral(nn.Module):
    """What each pixel's bands say by themselves: (B, H, W, C) to (B, H, W, D).

    A perceptron on standardised values is smooth where trees cut sharply. Two encodings of each band give it the cuts:
    sines at learned frequencies, and ramps from 0 to 1 between neighbouring quantiles of the normal distribution, which
    say nothing new beyond the outermost, as a tree's cuts do not. Gorishniy, Rubachev, Babenko: On embeddings for
    numerical features in tabular deep learning (2022), sections 3.2 and 3.3.
    """

    def __init__(
        self, in_channels: int, dim: int, *, waves: int, spread: float, clip: float | None, ramps: int, ratio: float
    ) -> None:
        super().__init__()
        self.clip = clip
        self.frequency = nn.Parameter(spread * torch.randn(in_channels, waves))
        self.phase = nn.Parameter(torch.zeros(in_channels, waves))
        self.smooth = nn.Linear(in_channels, dim)
        self.sharp = nn.Linear(in_channels * waves, dim, bias=False)
        knots = torch.special.ndtri(torch.linspace(_TAIL, 1 - _TAIL, ramps + 1))
        self.offset: Tensor
        self.slope: Tensor
        self.register_buffer("slope", 1 / knots.diff(), persistent=False)
        self.register_buffer("offset", -knots[:-1] * self.slope, persistent=False)
        self.ramp = nn.Linear(in_channels * ramps, dim, bias=False)
        self.act = nn.GELU()
        self.mix = _Pointwise(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.phase)  # also under autocast: of an angle of many turns bfloat16 keeps no digits
        held = _hold(x, self.clip)
        angle = torch.addcmul(self.phase, held.unsqueeze(-1), 2 * math.pi * self.frequency)  # (B, H, W, C, waves)
        ramps = torch.addcmul(self.offset, x.unsqueeze(-1), self.slope).clamp(0, 1)  # (B, H, W, C, ramps)
        summed = self.smooth(held) + self.sharp(angle.sin().flatten(-2)) + self.ramp(ramps.flatten(-2))
        out: Tensor = self.mix(self.act(summed))
        return out


class _Pointwise(nn.Module):
    """LayerNorm and a two-layer perceptron on each pixel, as a residual: (B, H, W, D) to same."""

    def __init__(self, dim: int, ratio: float, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = max(1, round(dim * ratio))
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.project = nn.Linear(hidden, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.drop_path(self.project(self.act(self.expand(self.norm(x)))))
        return x + residual


class _ConvBlock(nn.Module):
    """Two convolutions 3 x 3, each normalised, as a residual: (B, H, W, D) to same (He et al. 2016)."""

    def __init__(self, dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.first_norm = BatchNorm(dim)
        self.second = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.second_norm = BatchNorm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        # (B, D, H, W) seen through a permuted view is torch's channels_last: nothing is copied.
        y = relu(self.first_norm(self.first(x.permute(0, 3, 1, 2))))
        residual: Tensor = self.drop_path(self.second_norm(self.second(y)).permute(0, 2, 3, 1))
        return relu(x + residual)


class _ScanBlock(nn.Module):
    """x + SS2D(LayerNorm(x)), then a feed-forward part (Liu et al.: VMamba, arXiv 2401.10166v3, 2024)."""

    def __init__(self, dim: int, *, d_state: int, ratio: float, drop_path: float, scan: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixer = SS2D(dim, d_state=d_state, expand=1, scan=scan)
        self.drop_path = DropPath(drop_path)
        self.feed_forward = _Pointwise(dim, ratio, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm(x)))
        out: Tensor = self.feed_forward(x)
        return out


class _Down(nn.Module):
    """Convolution 2 x 2, stride 2, normalised: (B, H, W, D) to (B, H/2, W/2, D')."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out, 2, stride=2, bias=False)
        self.norm = BatchNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm(self.conv(x.permute(0, 3, 1, 2))))
        return y.permute(0, 2, 3, 1)


class _Up(nn.Module):
    """Unfold each pixel into 2 x 2 and add the skip: (B, H, W, D'), (B, 2H, 2W, D) to (B, 2H, 2W, D)."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.expand = nn.ConvTranspose2d(dim, out, 2, stride=2)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        unfolded: Tensor = self.expand(x.permute(0, 3, 1, 2))
        return unfolded.permute(0, 2, 3, 1) + skip


class _Texture(nn.Module):
    """What the nearest neighbours say: two convolutions 3 x 3, which see 5 x 5, (B, H, W, C) to (B, H, W, D)."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, dim, 3, padding=1, bias=False)
        self.norm = BatchNorm(dim)
        self.second = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(relu(self.norm(self.first(x.permute(0, 3, 1, 2)))))
        return y.permute(0, 2, 3, 1)


def _hold(x: Tensor, clip: float | None) -> Tensor:
    return x if clip is None else x.clamp(-clip, clip)


class DetailUNet(nn.Module):
    """Logits (B, K, H, W) of images (B, C, H, W), whatever H and W.

    `dims` and `depths` run from full resolution to the coarsest level, `depths_decoder` likewise over all but
    the coarsest. The first `conv_levels` levels are convolutional, the others scan in four directions with
    `d_state` states. `drop_path` rises linearly towards the coarsest level. `waves` sines of each band, their
    frequencies drawn with deviation `spread` (turns a unit of the input, which is expected standardised), and `ramps`
    ramps feed the per-pixel part of `spectral_width`. All but the ramps see inputs held within +-`clip`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        dims: Sequence[int] = (24, 48, 96, 144, 192),
        depths: Sequence[int] = (1, 1, 1, 1, 2),
        depths_decoder: Sequence[int] = (1, 1, 1, 1),
        conv_levels: int = 4,
        d_state: int = 1,
        feed_forward: float = 2.0,
        waves: int = 8,
        spread: float = 4.0,
        ramps: int = 16,
        spectral_width: int = 64,
        clip: float | None = 2.0,
        drop_path: float = 0.2,
        dropout: float = 0.0,
        scan: str = "auto",
    ) -> None:
        super().__init__()
        if len(dims) < 2 or len(depths) != len(dims) or len(depths_decoder) != len(dims) - 1:
            raise ValueError(
                f"one depth a level and one decoder depth a level but the coarsest, got {len(dims)} dims, "
                f"{len(depths)} depths, {len(depths_decoder)} decoder depths"
            )
        self.size_multiple = 2 ** (len(dims) - 1)
        self.clip = clip

        def block(level: int) -> nn.Module:
            drop = drop_path * level / (len(dims) - 1)
            if level < conv_levels:
                return _ConvBlock(dims[level], drop)
            return _ScanBlock(dims[level], d_state=d_state, ratio=feed_forward, drop_path=drop, scan=scan)

        def stage(level: int, depth: int) -> nn.Sequential:
            return nn.Sequential(*(block(level) for _ in range(depth)))

        self.spectral = _Spectral(
            in_channels, spectral_width, waves=waves, spread=spread, clip=clip, ramps=ramps, ratio=feed_forward
        )
        self.stem = nn.Linear(spectral_width, dims[0])
        self.texture = _Texture(in_channels, dims[0])
        self.encoder = nn.ModuleList(stage(level, depth) for level, depth in enumerate(depths))
        self.down = nn.ModuleList(_Down(fine, coarse) for fine, coarse in pairwise(dims))
        self.up = nn.ModuleList(_Up(coarse, fine) for fine, coarse in pairwise(dims))
        self.decoder = nn.ModuleList(stage(level, depth) for level, depth in enumerate(depths_decoder))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(dims[0], num_classes)
        self.spectral_head = nn.Linear(spectral_width, num_classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = pad_to_multiple(image, self.size_multiple).permute(0, 2, 3, 1).contiguous()  # (B, H, W, C), H, W padded
        pixels = self.spectral(x)  # (B, H, W, spectral_width)
        # Far from the mean a place never seen may hold anything: a tree then says what it said at the edge of what
        # it knows, a net goes on in a straight line.
        x = self.stem(pixels) + self.texture(_hold(x, self.clip))  # (B, H, W, D)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(x if level == 0 else self.down[level - 1](x))  # (B, H / 2^level, W / 2^level, dims[level])
            skips.append(x)
        x = self.dropout(skips.pop())
        for level in range(len(skips) - 1, -1, -1):
            x = self.decoder[level](self.up[level](x, skips[level]))  # as the encoder's at this level
        logits: Tensor = self.head(x) + self.spectral_head(pixels)  # (B, H, W, K)
        return logits.permute(0, 3, 1, 2)[..., :height, :width]
