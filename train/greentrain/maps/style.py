"""How QGIS shows a map: a style file beside it, which it reads by itself. Pure, but for writing it.

QGIS would give each of the 256 possible values of a class map an entry without a name, and show the first three shares
of a map of fractions as red, green and blue. Format: QGIS 3, `QgsPalettedRasterRenderer` and
`QgsSingleBandPseudoColorRenderer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as xml

from greenschemas.colours import Colour, as_hex
from greenschemas.files import write_whole

__all__ = ["class_style", "share_style", "write_style"]

_MARK = "made by greentrain predict"
_PALE: Colour = (247, 247, 247)


def class_style(classes: Sequence[str], colours: Sequence[Colour]) -> str:
    """Of a map whose values are classes from 0: each with its name and colour, and no other value."""
    root, renderer = _renderer("paletted")
    palette = xml.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        xml.SubElement(palette, "paletteEntry", value=str(value), color=as_hex(colour), label=name, alpha="255")
    return _text(root)


def share_style(name: str, colour: Colour) -> str:
    """Of a map of shares: its first band, which is called `name`, from nearly white at 0 to its colour at 1."""
    root, renderer = _renderer("singlebandpseudocolor", classificationMin="0", classificationMax="1")
    shader = xml.SubElement(
        xml.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        minimumValue="0",
        maximumValue="1",
        clip="0",
    )
    for value, shade, label in ((0, _PALE, f"{name}: 0"), (1, colour, f"{name}: 1")):
        xml.SubElement(shader, "item", value=str(value), color=as_hex(shade), label=label, alpha="255")
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


def _text(root: xml.Element) -> str:
    xml.indent(root)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{xml.tostring(root, encoding='unicode')}\n"
