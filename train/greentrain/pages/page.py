"""What the pages share: one style, numbers as people read them, pictures inside the page. No page needs the network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from greenschemas.colours import as_hex, class_colours
from greenschemas.contract import Contract
from greenschemas.files import write_whole

__all__ = ["as_png", "legend", "show_bands", "write_page"]


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template of `templates/` and write the page whole. Every text is escaped."""
    loader = PackageLoader("greentrain.pages", "templates")
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters |= {"score": _score, "interval": _interval}
    css = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    write_whole(path, env.get_template(template).render(css=css, **values))


def as_png(picture: NDArray[np.uint8]) -> str:
    """(h, w, 3) colours as base64 PNG, for an img of a page."""
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "PNG")
    return base64.b64encode(memory.getvalue()).decode("ascii")


def legend(classes: Sequence[str]) -> list[tuple[str, str]]:
    """(class, #rrggbb) for the template's legend."""
    return [(name, as_hex(colour)) for name, colour in zip(classes, class_colours(classes), strict=True)]


def show_bands(contract: Contract) -> tuple[str, ...]:
    """Names of the three bands that make a picture: red, green, blue where the contract knows them, else the first."""
    by_common = {band.common: band.name for band in contract.bands if band.common}
    if {"red", "green", "blue"} <= set(by_common):
        return by_common["red"], by_common["green"], by_common["blue"]
    names = [*contract.features, *(band.name for band in contract.bands)]
    return tuple((names * 3)[:3])


def _score(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _interval(value: Sequence[float] | None) -> str:
    return "" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"
