"""Prediction for a scene that is in memory already: an array, or one with labels as xarray has them.

No file is read, so that this needs neither GDAL nor xarray: a labelled array brings its own class.
Letters: C bands of the array, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from greenschemas.band_names import match_names
from greenschemas.errors import ConfigError
from greenschemas.values import find_clouds, find_holes
from greentrain.maps.blend import Block, cut
from greentrain.maps.windows import Seen, beside_of, predict_block
from greentrain.training.checkpoint import Trained

__all__ = ["is_labelled", "predict_array", "predict_labelled"]

Floats = NDArray[np.float32]


def predict_array(
    trained: Trained,
    image: NDArray[Any],
    names: Sequence[str] | None = None,
    *,
    nodata: float | None = None,
    window: int | None = None,
    overlap: float = 0.5,
    batch_size: int = 8,
    flips: bool = False,
) -> Floats:
    """Fractions (K, H, W) of 0..1 of an image (C, H, W) in the units of the store, NaN where it cannot be used.

    names: of the bands of the image; None: all bands of the store, or those that the net sees, in their order.
    Unusable are the pixels that training would have left out: NaN, `nodata`, 0 in all reflectances, and clouds where
    the store masks them and the quality band is there. The rest is as `maps.predict.Options` says. Raises ConfigError
    where bands are missing.
    """
    if image.ndim != 3 or 0 in image.shape:
        raise ConfigError("image", f"an array of shape {image.shape}", "give (bands, rows, columns)")
    contract, wanted = trained.contract, trained.normaliser.bands
    at = _positions(trained, len(image), names)
    bands = [band for band in contract.declared_bands if band.name in at]
    raw = image[[at[band.name] for band in bands]]
    usable = find_holes(raw, bands, [nodata] * len(bands)).usable
    quality = contract.quality if contract.clouds_masked else {}
    clouds = find_clouds(quality, {band.name: raw[i] for i, band in enumerate(bands) if band.name in quality})
    if clouds is not None:
        usable = usable & ~clouds
    values = np.where(usable, image[[at[name] for name in wanted]], 0).astype(np.float32)
    size, (_, height, width) = window or contract.tile_size, image.shape
    if not (size >= 1 and 0 <= overlap < 1 and batch_size >= 1):
        raise ConfigError(
            "predict",
            f"window {size}, overlap {overlap}, batch_size {batch_size}",
            "give 1 pixel or more, a share from 0 up to, but not, 1, and 1 window or more",
        )
    step = max(1, round(size * (1 - overlap)))
    return predict_block(
        trained.of_net,
        len(trained.rule.classes),
        Seen(values, usable, (0, 0)),
        Block(0, 0, 0, height, width),
        (cut(height, size, step), cut(width, size, step)),
        batch_size=batch_size,
        flips=flips,
        beside=beside_of(trained),
    )


def is_labelled(image: Any) -> bool:
    """Whether it is an array with names of axes and coordinates, as xarray has them."""
    return all(hasattr(image, name) for name in ("dims", "coords", "attrs", "transpose"))


def predict_labelled(trained: Trained, image: Any, **how: Any) -> Any:
    """As `predict_array`, for an xarray.DataArray with the axes y and x, and one of bands, in any order.

    Bands go by name where it has names: text along that axis, or rioxarray's attribute `long_name`. The answer lies
    where the image does: its axes are class, y, x, with the image's coordinates of y and x, its CRS and transform.
    """
    rest = [axis for axis in image.dims if axis not in ("y", "x")]
    if len(rest) != 1 or len(image.dims) != 3:
        raise ConfigError("image", f"axes {', '.join(map(str, image.dims))}", "give an array of a band axis, y and x")
    [axis] = rest
    image = image.transpose(axis, "y", "x")
    nodata = image.attrs.get("_FillValue")
    share = predict_array(trained, image.values, _names(image, axis), nodata=nodata, **how)
    coords = {
        name: value
        for name, value in image.coords.items()
        if axis not in value.dims and name != axis and (not value.dims or set(value.dims) <= {"y", "x"})
    }
    return type(image)(
        share, dims=("class", "y", "x"), coords={**coords, "class": list(trained.rule.classes)}, name="fraction"
    )


def _names(image: Any, axis: str) -> list[str] | None:
    """Names of the bands, None where it has none."""
    if axis in image.coords and image.coords[axis].dtype.kind in "OUT":
        return [str(name) for name in image.coords[axis].values]
    described = image.attrs.get("long_name")
    if isinstance(described, str):
        described = (described,)
    return [str(name) for name in described] if described and len(described) == image.shape[0] else None


def _positions(trained: Trained, count: int, names: Sequence[str] | None) -> dict[str, int]:
    """Where in the array each band stands that the store has; all that the net sees are among them."""
    bands, wanted = trained.contract.declared_bands, trained.normaliser.bands
    every = [band.name for band in bands]
    if names is None:
        for order in (every, list(wanted)):
            if count == len(order):
                return {name: i for i, name in enumerate(order)}
        raise ConfigError(
            "image",
            f"{count} bands without names",
            f"give the {len(every)} of the store ({', '.join(every)}) or the {len(wanted)} that the net sees",
        )
    found = match_names(list(names), bands)
    at = {band.name: i for band, i in zip(bands, found.at, strict=True) if i is not None}
    if missing := [name for name in wanted if name not in at]:
        raise ConfigError(
            "image",
            f"no band {', '.join(missing)}; it has {', '.join(names)}",
            "give the bands that the run was trained on",
        )
    return at
