"""Gradient-boosted trees as arrays: read pixel by pixel in a compiled loop, kept in a file that runs no code.

Letters: N nodes, T trees, K classes, B images, C channels, S scales, F features, H rows, W columns, P pixels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

from greenschemas.errors import ConfigError
from greenschemas.files import whole
from greentrain.nets.surroundings import feature_count, reach, surroundings
from greentrain.threads import on_threads

__all__ = ["TreeArrays"]

_DAMAGE = (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, TypeError, ValueError, zlib.error)
"""What reading a .npz raises whose bytes are not those that were written."""
_RUN = 256
"""Pixels that go through a tree together, while its nodes are in the cache."""
_VALUES = 2**24
"""Features of so many pixels are held at once (64 MB)."""
_WIDEST = 64.0
"""Greatest scale, in pixels, that is believed of a file."""


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """Trees that add up to a score of each class, and the probabilities that follow from the scores by softmax.

    Raises ValueError for arrays that are no trees: a node whose children do not come after it, for one.
    """

    feature: NDArray[np.uint32]
    """(N,) feature that a node looks at, as `surroundings` orders them; 0 at a leaf."""
    threshold: NDArray[np.float32]
    """(N,) beyond it a pixel goes right; infinite at a leaf."""
    child: NDArray[np.uint32]
    """(N,) node to the left, the one to the right being the next; a leaf's own number."""
    value: NDArray[np.float64]
    """(N,) what a leaf adds."""
    root: NDArray[np.uint32]
    """(T,) first node of each tree."""
    class_of: NDArray[np.uint32]
    """(T,) class whose score a tree adds to."""
    start: NDArray[np.float64]
    """(K,) scores before any tree; minus infinity: a class that was never seen."""
    channels: int
    """C of the images."""
    scales: tuple[float, ...] = ()
    """S of the surroundings that the trees see; none: they look at single pixels."""

    def __post_init__(self) -> None:
        nodes, here = len(self.feature), np.arange(len(self.feature))
        leaf = self.child == here if self.child.shape == here.shape else None
        sound = (
            leaf is not None
            and self.threshold.shape == self.value.shape == here.shape
            and self.root.ndim == self.start.ndim == 1
            and self.root.shape == self.class_of.shape
            and all(0 < scale <= _WIDEST for scale in self.scales)
            and bool((self.feature < feature_count(self.channels, self.scales)).all())
            and bool((leaf | ((self.child > here) & (self.child < nodes - 1))).all())
            and bool(np.isposinf(self.threshold[leaf]).all())
            and bool((self.root < nodes).all())
            and bool((self.class_of < len(self.start)).all())
            and bool(np.isfinite(self.start).any())
        )
        if not sound:
            raise ValueError("these arrays are no trees")

    @property
    def reach(self) -> int:
        """Pixels in each direction on which the answer at a pixel depends."""
        return reach(self.scales)

    def __call__(self, image: Tensor) -> Tensor:
        """Probabilities (B, K, H, W) float32, on the CPU, of images (B, C, H, W) without NaN."""
        batch, _, height, width = image.shape
        out = np.empty((batch, len(self.start), height, width), np.float32)
        rows = max(_VALUES // (feature_count(self.channels, self.scales) * width), 2 * self.reach, 1)
        for pixels, share in zip(image.detach().float().cpu().numpy(), out, strict=True):
            for top in range(0, height, rows):
                first, last = max(top - self.reach, 0), min(top + rows + self.reach, height)
                seen = surroundings(pixels[:, first:last], self.scales)[:, top - first : top - first + rows]
                here = share[:, top : top + rows]
                here[...] = self.of_features(seen.reshape(len(seen), -1).T).T.reshape(here.shape)
        return torch.from_numpy(out)

    def of_features(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (P, K) of the features (P, F) of pixels."""
        scores = np.tile(self.start, (len(features), 1))
        trees = (self.feature, self.threshold, self.child, self.value, self.root, self.class_of)
        on_threads(torch.get_num_threads(), _add, np.ascontiguousarray(features), *trees, scores)
        share: NDArray[np.float32] = torch.from_numpy(scores).softmax(1).float().numpy()
        return share

    @property
    def identity(self) -> str:
        """Digest of all that an answer depends on."""
        found = sha256(f"{self.channels} {self.scales}".encode())
        for name, part in self._arrays().items():
            found.update(f"{name} {part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        return found.hexdigest()

    def save(self, path: Path) -> None:
        """Write the arrays as a .npz, whole or not at all."""
        with whole(path) as draft, draft.open("wb") as file:
            about = {"channels": np.array(self.channels), "scales": np.array(self.scales, np.float64)}
            np.savez_compressed(file, **about, **self._arrays())  # type: ignore[arg-type]  # as if it were allow_pickle

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote; raises ConfigError for a file that is damaged or something else."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                # The trees of older runs look at single pixels, and have no scales.
                scales = tuple(np.asarray(file.get("scales", ()), np.float64).ravel().tolist())
                known: dict[str, Any] = {part.name: file[part.name] for part in fields(cls) if part.name != "scales"}
            kinds: dict[str, Any] = {"threshold": np.float32, "value": np.float64, "start": np.float64}
            channels = int(known.pop("channels"))
            arrays = {name: np.asarray(part, kinds.get(name, np.uint32)) for name, part in known.items()}
            return cls(**arrays, channels=channels, scales=scales)
        except _DAMAGE as problem:
            raise ConfigError(
                path,
                f"a broken file of trees ({str(problem).splitlines()[0][:120]})",
                "copy the run again, or delete the file: the net then stands alone",
            ) from None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {part.name: getattr(self, part.name) for part in fields(self) if part.name not in ("channels", "scales")}


@njit(parallel=True)
def _add(pixels, feature, threshold, child, value, root, class_of, scores):  # type: ignore[no-untyped-def]
    """Add what each tree says of pixels (P, F) to their scores (P, K).

    Nodes have numbers without a sign: with one, each look at an array first asks whether it counts from the end.
    """
    count = len(pixels)
    for run in prange((count + _RUN - 1) // _RUN):
        for tree in range(len(root)):
            k, top = class_of[tree], root[tree]
            for p in range(run * _RUN, min((run + 1) * _RUN, count)):
                node = top
                while child[node] != node:
                    node = child[node] + np.uint32(pixels[p, feature[node]] > threshold[node])
                scores[p, k] += value[node]
