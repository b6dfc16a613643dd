"""VM-UNet, the published network (Ruan, Li, Xiang: VM-UNet, arXiv 2402.02491, 2024), with its state_dict keys.

Read top to bottom, in one file for that: the pieces of a block, the block, the stages, the net. The blocks are those of
VMamba's first version (Liu et al.: VMamba, arXiv 2401.10166v1, 2024).

Shapes: B batch, C width, D = 2 C inner width, R rank of step sizes, N states, H rows, W columns, L = H W, K classes.
Inside the net images are channels-last, (B, H, W, C).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from greenschemas.errors import ConfigError
from greentrain.nets import scan as scans

__all__ = ["SS2D", "ModelError", "VMUNet", "pad_to_multiple", "weight_decay_groups"]


class ModelError(ConfigError, ValueError):
    """A net that cannot be built as asked, or an input that it cannot take."""


class DropPath(nn.Module):
    """Leave out the branch of a residual block for whole samples, with probability `p`, in training.

    Huang et al.: Deep networks with stochastic depth (2016).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(1.0 - self.p)
        return x * keep / (1.0 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:.3f}"


class SS2D(nn.Module):
    """The two-dimensional selective scan: four scans over the pixels in four orders, added up. (B, H, W, C) to same."""

    def __init__(
        self, d_model: int, *, d_state: int = 16, expand: int = 2, activation: str = "silu", scan: str = "auto"
    ) -> None:
        super().__init__()
        inner, rank = expand * d_model, math.ceil(d_model / 16)
        self.rank, self.d_state, self.scan = rank, d_state, scan
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.act = _activation(activation)
        self.x_proj_weight = nn.Parameter(torch.empty(4, rank + 2 * d_state, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(4, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(4, inner))
        self.A_logs = nn.Parameter(torch.empty(4 * inner, d_state))
        self.Ds = nn.Parameter(torch.empty(4 * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self._reset_scan_parameters()

    def _reset_scan_parameters(self) -> None:
        """Step sizes start between 0.001 and 0.1, decays at 1..N (Gu et al.: S4D, 2022, and Mamba's code)."""
        inner = self.dt_projs_bias.shape[1]
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)  # what nn.Linear starts with
        nn.init.uniform_(self.dt_projs_weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            dt = torch.empty_like(self.dt_projs_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp().clamp_(min=1e-4)
            self.dt_projs_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
            self.A_logs.copy_(torch.arange(1, self.d_state + 1, dtype=torch.float32).log())
            self.Ds.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)  # each (B, H, W, D)
        x = self.act(self.conv2d(x.permute(0, 3, 1, 2).contiguous()))  # (B, D, H, W), rows together as published
        y = self.out_norm(self._cross_scan(x).to(self.out_norm.weight.dtype)).to(z.dtype)
        return self.out_proj(y * self.act(z))  # type: ignore[no-any-return]

    def _cross_scan(self, x: Tensor) -> Tensor:
        """Scan x (B, D, H, W) by rows, by columns and both backwards; the sum, (B, H, W, D)."""
        batch, inner, height, width = x.shape
        rows, columns = x.flatten(2), x.transpose(2, 3).flatten(2)  # each (B, D, L)
        xs = torch.stack([rows, columns, rows.flip(-1), columns.flip(-1)], dim=1)  # (B, 4, D, L)
        x_dbl = _project(self.x_proj_weight, xs)  # (B, 4, R + 2N, L)
        dt, B, C = torch.split(x_dbl, [self.rank, self.d_state, self.d_state], dim=2)  # (B, 4, R or N, L)
        delta = _project(self.dt_projs_weight, dt)  # (B, 4, D, L)
        # Looked up at each call, so that another scan can be put in its place.
        y = scans.selective_scan(
            xs.flatten(1, 2).to(_wide(xs)),
            delta.flatten(1, 2).to(_wide(xs)),
            -torch.exp(self.A_logs.to(_wide(xs))),
            B.to(_wide(xs)),
            C.to(_wide(xs)),
            self.Ds.to(_wide(xs)),
            self.dt_projs_bias.to(_wide(xs)).flatten(),
            delta_softplus=True,
            backend=self.scan,
        ).view(batch, 4, inner, height * width)
        rows, columns, rows_back, columns_back = y.unbind(1)  # y (B, 4, D, L)
        rows_back, columns_back = rows_back.flip(-1), columns_back.flip(-1)
        by_row = (rows + rows_back).view(batch, inner, height, width).permute(0, 2, 3, 1)
        # One after another, as published: a sum by pairs rounds otherwise.
        for by_column in (columns, columns_back):
            by_row = by_row + by_column.view(batch, inner, width, height).permute(0, 3, 2, 1)
        return by_row


class VSSBlock(nn.Module):
    """x + DropPath(SS2D(LayerNorm(x))), channels-last. There is no feed-forward part."""

    def __init__(self, dim: int, *, d_state: int, drop_path: float, activation: str, scan: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attention = SS2D(dim, d_state=d_state, activation=activation, scan=scan)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.self_attention(self.ln_1(x)))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """(B, bands, H, W) to (B, H/4, W/4, C): every 4 x 4 pixels become one."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 4, stride=4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class PatchMerging(nn.Module):
    """(B, H, W, C) to (B, H/2, W/2, C'): four neighbours side by side, norm, projection (Liu et al.: Swin, 2021)."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, out, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))  # type: ignore[no-any-return]


class PatchExpand(nn.Module):
    """(B, H, W, C) to (B, sH, sW, C'): each pixel unfolds into s x s of them (Cao et al.: Swin-Unet, 2021)."""

    def __init__(self, dim: int, out: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(dim, scale * scale * out, bias=False)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        s, out = self.scale, self.norm.normalized_shape[0]
        x = self.expand(x).view(batch, height, width, s, s, out).permute(0, 1, 3, 2, 4, 5)  # (B, H, s, W, s, C')
        return self.norm(x.reshape(batch, s * height, s * width, out))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Upsample if there is one, blocks, downsample if there is one."""

    def __init__(
        self, blocks: list[VSSBlock], *, down: PatchMerging | None = None, up: PatchExpand | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = down
        self.upsample = up

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample is not None:
            x = self.upsample(x)
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class VMUNet(nn.Module):
    """A U-Net of visual state space blocks: (B, C, H, W) to logits (B, K, H, W), for any H and W.

    `dims` and `depths` go from the finest stage to the coarsest, `depths_decoder` from the coarsest to the finest, as
    published. `drop_path` rises from 0 to its value over the encoder's blocks and falls back over the decoder's.
    `activation` is silu or gelu; `scan` names the kernel (`greentrain.nets.scan.BACKENDS`).

    Sizes that are no multiple of `size_multiple` are mirrored at their lower and right edges up to the next one, and
    the logits cropped back.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 2, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        d_state: int = 16,
        drop_path: float = 0.2,
        activation: str = "silu",
        scan: str = "auto",
    ) -> None:
        super().__init__()
        _check_plan(in_channels, num_classes, dims, depths, depths_decoder, d_state, drop_path)
        stages, up_dims = len(dims), list(reversed(dims))
        self.in_channels, self.num_classes = in_channels, num_classes
        self.size_multiple = 4 * 2 ** (stages - 1)

        def blocks(dim: int, drops: list[float]) -> list[VSSBlock]:
            return [VSSBlock(dim, d_state=d_state, drop_path=p, activation=activation, scan=scan) for p in drops]

        down_drops = _cut(_rising(drop_path, sum(depths)), depths)
        up_drops = _cut(_rising(drop_path, sum(depths_decoder))[::-1], depths_decoder)
        self.patch_embed = PatchEmbed(in_channels, dims[0])
        self.layers = nn.ModuleList(
            Stage(blocks(dims[i], down_drops[i]), down=PatchMerging(dims[i], dims[i + 1]) if i + 1 < stages else None)
            for i in range(stages)
        )
        self.layers_up = nn.ModuleList(
            Stage(blocks(up_dims[i], up_drops[i]), up=PatchExpand(up_dims[i - 1], up_dims[i], 2) if i else None)
            for i in range(stages)
        )
        self.final_up = PatchExpand(dims[0], dims[0] // 4, 4)
        self.final_conv = nn.Conv2d(dims[0] // 4, num_classes, 1)
        self.apply(_reset_linear)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ModelError(
                "input",
                f"an array {tuple(x.shape)}",
                f"give (batch, {self.in_channels}, rows, columns): the net has {self.in_channels} bands",
            )
        height, width = x.shape[2:]
        x = self.patch_embed(pad_to_multiple(x, self.size_multiple))  # (B, H/4, W/4, C), H and W as padded
        skips = []
        for stage in self.layers:
            skips.append(x)
            x = stage(x)  # half the rows and columns, the next width; the last stage keeps them
        x = self.layers_up[0](x)
        for stage in self.layers_up[1:]:
            x = stage(x + skips.pop())  # before the upsampling, so skips[0], the finest, is never used
        logits = self.final_conv(self.final_up(x).permute(0, 3, 1, 2))  # (B, H/4, W/4, C) to (B, K, H, W)
        return logits[..., :height, :width]  # type: ignore[no-any-return]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Mirror x (B, C, H, W) at its lower and right edges, until `multiple` divides H and W.

    The mirror image is mirrored again where one is not enough; a single row or column is repeated. An array that fits
    is returned as it is.
    """
    for axis in (2, 3):
        size = x.shape[axis]
        if size == 0:
            raise ModelError("input", f"an array {tuple(x.shape)}", "give at least one row and one column")
        wanted = -(-size // multiple) * multiple
        if wanted != size:
            there_and_back = max(2 * (size - 1), 1)
            at = torch.arange(wanted, device=x.device) % there_and_back
            x = x.index_select(axis, torch.minimum(at, there_and_back - at) if size > 1 else at)
    return x


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameters for an optimiser, in two groups: weights decay, vectors (biases, norms, Ds) and A_logs do not."""
    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    kept = {name for name, p in parameters if p.dim() < 2 or name.endswith(("A_logs", "dt_projs_bias"))}
    return [
        {"params": [p for name, p in parameters if name not in kept], "weight_decay": weight_decay},
        {"params": [p for name, p in parameters if name in kept], "weight_decay": 0.0},
    ]


def _project(weight: Tensor, x: Tensor) -> Tensor:
    """weight (4, C, D) times x (B, 4, D, L) by direction, (B, 4, C, L); rounded as in the published einsum.

    The plain product copies less, but BLAS sums in another order where there are fewer than 12 columns.
    """
    return torch.einsum("bkdl,kcd->bkcl", x, weight) if x.shape[-1] < 16 else weight @ x


def _wide(x: Tensor) -> torch.dtype:
    """The scan keeps its state and decays in float32 at least."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _activation(name: str) -> nn.Module:
    match name:
        case "silu":
            return nn.SiLU()
        case "gelu":
            return nn.GELU()
    raise ModelError("activation", repr(name), "use silu or gelu")


def _reset_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _rising(last: float, count: int) -> list[float]:
    """`count` values from 0 to `last` at equal distances."""
    return [last * i / max(count - 1, 1) for i in range(count)]


def _cut(values: list[float], lengths: Sequence[int]) -> list[list[float]]:
    """`values` cut into pieces of these lengths."""
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    return [values[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _check_plan(
    in_channels: int,
    num_classes: int,
    dims: Sequence[int],
    depths: Sequence[int],
    depths_decoder: Sequence[int],
    d_state: int,
    drop_path: float,
) -> None:
    """Refuse a net that cannot be, before any tensor is made."""
    if not len(dims) == len(depths) == len(depths_decoder) > 0:
        found = f"{len(dims)} dims, {len(depths)} depths, {len(depths_decoder)} decoder depths"
        raise ModelError("dims", found, "give one of each a stage")
    if min(dims) < 1 or dims[0] % 4:
        raise ModelError(
            "dims", f"{tuple(dims)}", "use widths above 0, the first a multiple of 4: it unfolds into 4 x 4 pixels"
        )
    if min(*depths, *depths_decoder) < 0:
        raise ModelError("depths", f"{tuple(depths)} and {tuple(depths_decoder)}", "use 0 or more blocks a stage")
    for name, value in (("in_channels", in_channels), ("num_classes", num_classes), ("d_state", d_state)):
        if value < 1:
            raise ModelError(name, f"{value}", "use 1 or more")
    if not 0.0 <= drop_path < 1.0:
        raise ModelError("drop_path", f"{drop_path}", "use a probability from 0 to below 1")
