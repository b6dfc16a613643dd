"""How QGIS shows a map or polygons: a style file beside it, which it reads by itself. Pure, but for writing it.

QGIS would give each of the 256 possible values of a class map an entry without a name, and show the first three shares
of a map of fractions as red, green and blue. Format: QGIS 3, `QgsPalettedRasterRenderer`,
`QgsSingleBandPseudoColorRenderer`, `QgsCategorizedSymbolRenderer` and `QgsGraduatedSymbolRenderer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np
from numpy.typing import NDArray

from greenschemas.colours import NO_DATA, Colour, as_hex
from greenschemas.files import write_whole

__all__ = [
    "DIFFERENCE",
    "class_style",
    "difference_style",
    "green_shade",
    "polygon_style",
    "share_style",
    "write_form",
    "write_style",
    "zone_style",
]

_MARK = "made by greentrain"
_PALE: Colour = (247, 247, 247)
DIFFERENCE: tuple[Colour, Colour] = ((140, 81, 10), (1, 102, 94))
"""Of all that is lost, and all that is gained; told apart without red and green, too (ColorBrewer, BrBG)."""
_GREEN: tuple[Colour, Colour] = ((240, 246, 226), (10, 88, 48))
_STEPS = 5


def class_style(classes: Sequence[str], colours: Sequence[Colour], shown: Iterable[int] | None = None) -> str:
    """Of a map whose values are classes from 0: each with its name and colour, and no other value.

    shown: values that get an entry; all by default.
    """
    root, renderer = _renderer("paletted")
    palette = xml.SubElement(renderer, "colorPalette")
    for value in range(len(classes)) if shown is None else shown:
        said = {"value": str(value), "color": as_hex(colours[value]), "label": classes[value]}
        xml.SubElement(palette, "paletteEntry", said, alpha="255")
    return _text(root)


def share_style(name: str, colour: Colour) -> str:
    """Of a map of shares: its first band, which is called `name`, from nearly white at 0 to its colour at 1."""
    return _ramp({0: (_PALE, f"{name}: 0"), 1: (colour, f"{name}: 1")})


def difference_style(name: str) -> str:
    """Of a map of differences of shares: its first band, brown where there is less, green where there is more."""
    low, high = DIFFERENCE
    return _ramp({-1: (low, f"{name}: all lost"), 0: (_PALE, f"{name}: as before"), 1: (high, f"{name}: all gained")})


def difference_colours(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Picture (h, w, 3) of differences (h, w) from -1 to 1, in the colours of `difference_style`; NaN is white."""
    known = np.isfinite(values)
    at = np.where(known, values, 0).clip(-1, 1)[..., None]
    low, high = (np.array(end, np.float64) for end in DIFFERENCE)
    colour = np.array(_PALE) + np.abs(at) * (np.where(at < 0, low, high) - np.array(_PALE))
    return np.where(known[..., None], colour.round(), np.array(NO_DATA)).astype(np.uint8)


def _ramp(stops: Mapping[int, tuple[Colour, str]]) -> str:
    """(colour, label) by value, ascending."""
    low, high = str(min(stops)), str(max(stops))
    root, renderer = _renderer("singlebandpseudocolor", classificationMin=low, classificationMax=high)
    shader = xml.SubElement(
        xml.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        minimumValue=low,
        maximumValue=high,
        clip="0",
    )
    for value, (shade, label) in stops.items():
        xml.SubElement(shader, "item", value=str(value), color=as_hex(shade), label=label, alpha="255")
    return _text(root)


def green_shade(at: float) -> Colour:
    """The colour of a zone: pale at 0, dark green at 1."""
    red, green, blue = (round(low + at * (high - low)) for low, high in zip(*_GREEN, strict=True))
    return red, green, blue


def polygon_style(field: str, classes: Sequence[str], colours: Sequence[Colour]) -> str:
    """Of polygons whose `field` holds a class: each class in its colour, without outlines."""
    root, renderer = _vectors("categorizedSymbol", field)
    rows, symbols = xml.SubElement(renderer, "categories"), xml.SubElement(renderer, "symbols")
    for index, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        xml.SubElement(rows, "category", value=name, label=name, symbol=str(index), render="true", type="string")
        _fill(symbols, index, colour, "no")
    return _text(root)


def zone_style(field: str, low: float, high: float) -> str:
    """Of zones whose `field` holds a share of green between `low` and `high`: five steps from pale to dark."""
    root, renderer = _vectors("graduatedSymbol", field)
    rows, symbols = xml.SubElement(renderer, "ranges"), xml.SubElement(renderer, "symbols")
    for index in range(_STEPS):
        lower, upper = (low + (high - low) * (index + more) / _STEPS for more in (0, 1))
        said = {"lower": str(lower), "upper": str(upper), "label": f"{lower:.1%} to {upper:.1%}"}
        xml.SubElement(rows, "range", said, symbol=str(index), render="true")
        _fill(symbols, index, green_shade(index / (_STEPS - 1)), "solid")
    return _text(root)


def write_style(map: Path, style: str) -> None:
    """Write the style beside the map, unless a person has saved one of their own there."""
    path = map.with_suffix(".qml")
    if not path.exists() or _MARK in path.read_text(encoding="utf-8", errors="replace"):
        write_whole(path, style)


def _renderer(kind: str, **attributes: str) -> tuple[xml.Element, xml.Element]:
    root = xml.Element("qgis", version="3.22")
    root.append(xml.Comment(_MARK))
    pipe = xml.SubElement(root, "pipe")
    said = {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", **attributes}
    return root, xml.SubElement(pipe, "rasterrenderer", said)


def _vectors(kind: str, field: str) -> tuple[xml.Element, xml.Element]:
    root = xml.Element("qgis", version="3.22")
    root.append(xml.Comment(_MARK))
    return root, xml.SubElement(root, "renderer-v2", type=kind, attr=field)


def _fill(symbols: xml.Element, index: int, colour: Colour, outline: str) -> None:
    symbol = xml.SubElement(symbols, "symbol", type="fill", name=str(index), alpha="1")
    layer = xml.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1"})
    said = {"color": "{},{},{},255".format(*colour), "outline_color": "90,100,94,255", "outline_style": outline}
    for key, value in said.items():
        xml.SubElement(layer, "prop", k=key, v=value)


def _text(root: xml.Element) -> str:
    xml.indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{xml.tostring(root, encoding='unicode')}\n"


def write_form(sample: Path, classes: Sequence[str]) -> None:
    """Write the style of a sample's points beside it, by which QGIS asks for `reference` by a list of the classes.

    What the map says is hidden in the form, so that nobody is led by it. classes: empty where shares are asked for,
    which are typed in.
    """
    root = xml.Element("qgis", version="3.22")
    root.append(xml.Comment(_MARK))
    fields = xml.SubElement(root, "fieldConfiguration")
    for name in ("stratum", "stratum_pixels", "mapped"):
        xml.SubElement(xml.SubElement(fields, "field", name=name), "editWidget", type="Hidden")
    if classes:
        field = xml.SubElement(fields, "field", name="reference")
        config = xml.SubElement(xml.SubElement(field, "editWidget", type="ValueMap"), "config")
        values = xml.SubElement(xml.SubElement(config, "Option", type="Map"), "Option", type="List", name="map")
        for name in classes:
            xml.SubElement(
                xml.SubElement(values, "Option", type="Map"), "Option", type="QString", name=name, value=name
            )
    write_style(sample, _text(root))
