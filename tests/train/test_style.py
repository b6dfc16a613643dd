"""Styles for QGIS: what they say, and what QGIS itself makes of them where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np
import pytest
import rasterio
import shapely

from greenschemas.colours import as_hex, class_colours
from greenschemas.grid import Grid
from greentrain.ground.vectors import write_gpkg
from greentrain.maps.raster import Layer, write_map
from greentrain.maps.style import class_style, green_shade, polygon_style, share_style, write_style, zone_style

CLASSES = ("trees", "water", 'Bäume & <"Büsche">')
UTM = Grid(30, 40, (10.0, 0.0, 400000.0, 0.0, -10.0, 4080000.0), rasterio.CRS.from_epsg(32618).to_wkt())
QGIS = """
import json, sys
from qgis.core import QgsApplication, QgsRasterLayer
from qgis.PyQt.QtGui import QColor
app = QgsApplication([], False); app.initQgis()
found = {}
for path in sys.argv[1:]:
    layer = QgsRasterLayer(path, "map")
    renderer = layer.renderer()
    block = renderer.block(1, layer.extent(), layer.width(), layer.height())
    shown = [QColor.fromRgba(block.color(row, col)) for row, col in ((0, 0), (15, 5), (29, 39))]
    pixels = [[one.name(), one.alpha()] for one in shown]
    legend = [[label, colour.name()] for label, colour in renderer.legendSymbologyItems()]
    found[path] = {"type": renderer.type(), "bands": renderer.usesBands(), "legend": legend, "pixels": pixels}
print(json.dumps(found))
"""

VECTORS = """
import json, sys
from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsVectorLayer
from qgis.PyQt.QtCore import QSize
app = QgsApplication([], False); app.initQgis()
found = {}
for path in sys.argv[1:]:
    layer = QgsVectorLayer(path, "zones", "ogr")
    settings = QgsMapSettings()
    settings.setLayers([layer]); settings.setExtent(layer.extent()); settings.setOutputSize(QSize(90, 30))
    job = QgsMapRendererSequentialJob(settings); job.start(); job.waitForFinished()
    image = job.renderedImage()
    legend = [[item.label(), item.symbol().color().name()] for item in layer.renderer().legendSymbolItems()]
    pixels = [image.pixelColor(x, 15).name() for x in (15, 45, 75)]
    found[path] = {"type": layer.renderer().type(), "legend": legend, "pixels": pixels}
print(json.dumps(found))
"""


def test_a_class_map_has_an_entry_for_each_class_and_no_other() -> None:
    root = xml.fromstring(class_style(CLASSES, class_colours(CLASSES)))
    entries = [(one.get("value"), one.get("label"), one.get("color")) for one in root.iter("paletteEntry")]
    assert entries == [(str(i), CLASSES[i], as_hex(class_colours(CLASSES)[i])) for i in range(3)]


def test_a_style_that_a_person_saved_stays(tmp_path: Path) -> None:
    write_style(tmp_path / "m.tif", share_style("trees", (0, 80, 0)))
    write_style(tmp_path / "m.tif", share_style("water", (0, 0, 80)))
    assert "water: 1" in (tmp_path / "m.qml").read_text(encoding="utf-8")
    (tmp_path / "m.qml").write_text("<qgis>hers</qgis>")
    write_style(tmp_path / "m.tif", share_style("trees", (0, 80, 0)))
    assert (tmp_path / "m.qml").read_text() == "<qgis>hers</qgis>"


@pytest.fixture
def qgis() -> str:
    """A Python that has QGIS: Debian's own, by `apt-get install python3-qgis qgis-providers`."""
    python = shutil.which("python3", path="/usr/bin") or ""
    if not python or subprocess.run([python, "-c", "import qgis.core"], capture_output=True).returncode:
        pytest.skip("QGIS is not installed: apt-get install python3-qgis qgis-providers")
    return python


def in_qgis(python: str, code: str, folder: Path, *paths: Path) -> list[dict]:
    """What a program in QGIS's Python says of each of the paths."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", code, *map(str, paths)],
        env=outside | {"QT_QPA_PLATFORM": "offscreen", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]).values())


def test_qgis_shows_classes_by_name_and_shares_by_a_ramp(qgis: str, tmp_path: Path) -> None:
    colours = class_colours(CLASSES)
    label = np.full((1, 30, 40), 255, np.uint8)
    label[:, :10], label[:, 10:20] = 0, 2
    write_map(tmp_path / "m.tif", UTM, Layer(("class",), "uint8", 255, colours), [(0, 0, label)], {})
    write_style(tmp_path / "m.tif", class_style(CLASSES, colours))
    share = np.zeros((3, 30, 40), np.float32)
    share[0, 10:20], share[0, 20:] = 0.5, 1
    write_map(tmp_path / "f.tif", UTM, Layer(CLASSES, "float32", float("nan")), [(0, 0, share)], {})
    write_style(tmp_path / "f.tif", share_style(CLASSES[0], colours[0]))
    classes, shares = in_qgis(qgis, QGIS, tmp_path, tmp_path / "m.tif", tmp_path / "f.tif")
    assert classes["type"] == "paletted" and classes["bands"] == [1]
    assert classes["legend"] == [[name, as_hex(colour)] for name, colour in zip(CLASSES, colours, strict=True)]
    assert [one[0] for one in classes["pixels"][:2]] == [as_hex(colours[0]), as_hex(colours[2])]
    assert classes["pixels"][2][1] == 0, "without data QGIS draws nothing"
    assert shares["type"] == "singlebandpseudocolor" and shares["bands"] == [1]
    pale, half, full = (one[0] for one in shares["pixels"])
    middle = tuple((247 + part) // 2 for part in colours[0])
    assert (pale, full) == ("#f7f7f7", as_hex(colours[0]))
    assert all(abs(int(half[i : i + 2], 16) - m) <= 1 for i, m in zip((1, 3, 5), middle, strict=True))


def test_qgis_colours_polygons_by_class_and_zones_by_green(qgis: str, tmp_path: Path) -> None:
    squares = np.array([shapely.box(x, 0, x + 100, 100) for x in (0, 100, 200)], object)
    columns = {"class": np.array(CLASSES, object), "share_of_green": np.array([0.2, 0.5, 0.3])}
    colours = class_colours(CLASSES)
    for name, style in (("p", polygon_style("class", CLASSES, colours)), ("z", zone_style("share_of_green", 0.2, 0.5))):
        write_gpkg(tmp_path / f"{name}.gpkg", "EPSG:32618", [(squares, columns)])
        write_style(tmp_path / f"{name}.gpkg", style)
    classes, zones = in_qgis(qgis, VECTORS, tmp_path, tmp_path / "p.gpkg", tmp_path / "z.gpkg")
    assert classes["type"] == "categorizedSymbol" and classes["pixels"] == [as_hex(colour) for colour in colours]
    assert classes["legend"] == [[name, as_hex(colour)] for name, colour in zip(CLASSES, colours, strict=True)]
    assert zones["type"] == "graduatedSymbol" and zones["legend"][0][0] == "20.0% to 26.0%"
    assert zones["pixels"] == [as_hex(green_shade(at)) for at in (0, 1, 0.25)]
