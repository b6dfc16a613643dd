"""What files bring: coordinate systems that are addresses, lines that are no entries, odd numbers, closed folders."""

import http.server
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from greenprep.build.run import tile
from greenprep.clean.clean import JOURNAL_NAME, clean
from greenprep.inspect.verify import verify
from greenprep.raw import pairs
from greenprep.split.footprints import footprints
from greenschemas.crs import check_crs
from greenschemas.errors import GreenError, SourceError, StoreError
from greenschemas.manifest import MANIFEST_NAME, Entry, read_manifest
from greenschemas.recipe import load_recipe
from greenschemas.store import open_store
from support.stores import reseal, write_tiny_store


@pytest.fixture
def listener():
    """A server of this machine: (address, requests that it got)."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/crs", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("crs", ["EPSG:32618", "ESRI:102001", "OGC:CRS84", "urn:ogc:def:crs:OGC:1.3:CRS84", ""])
def test_codes_are_coordinate_systems(crs):
    assert check_crs(crs) == crs


def test_wkt_and_projjson_are_coordinate_systems():
    system = rasterio.crs.CRS.from_epsg(32618)
    assert check_crs(system.to_wkt()) and check_crs(system.to_wkt(version="WKT2_2019")) and check_crs('{"type": "x"}')


@pytest.mark.parametrize(
    "crs", ["http://127.0.0.1/crs", "/etc/passwd", "file:///x", "+proj=utm +nadgrids=@http://x/y", "x.prj", "[" * 9]
)
def test_addresses_and_files_are_none(crs):
    with pytest.raises(ValueError, match="WKT or PROJJSON"):
        check_crs(crs)


@given(st.text())
def test_any_text_is_taken_or_refused(text):
    try:
        assert check_crs(text) == text
    except ValueError as problem:
        assert "PROJJSON" in str(problem)


def test_an_address_in_a_store_or_manifest_is_refused_and_nobody_is_asked(tmp_path, listener):
    address, asked = listener
    write_tiny_store(tmp_path / "s")
    group = zarr.open_group(str(tmp_path / "s"), mode="r+")
    for text, says in ((address, "WKT or PROJJSON"), ("EPSG:999999", "no coordinate system")):
        group["crs"][:] = np.array([text] * 4, dtype=object).astype(np.dtypes.StringDType())
        reseal(tmp_path / "s")
        with pytest.raises(StoreError, match=says):
            footprints(open_store(tmp_path / "s"))
    line = Entry(image="a.tif", mask=None, group=None, time=None, verdict="accepted").model_dump(mode="json")
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(line | {"crs": address}) + "\n")
    with pytest.raises(SourceError, match="`crs` is"):
        list(read_manifest(tmp_path))
    assert asked == []


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"no json\n", b"\0\n", b"[" * 100_000 + b"\n", b"{}\n", b"7\n"])
def test_a_line_that_is_no_entry_is_named_in_manifest_and_journal(collection, line):
    out = collection.folder / "out"
    clean(collection.raw, out, collection.plain, workers=1, limit=1)
    good = (out / MANIFEST_NAME).read_bytes()
    (out / MANIFEST_NAME).write_bytes(good + line)
    with pytest.raises(SourceError, match=rf"{MANIFEST_NAME}:\d"):
        list(read_manifest(out))
    (out / MANIFEST_NAME).write_bytes(good)
    (out / JOURNAL_NAME).write_bytes(line + good)
    with pytest.raises(SourceError, match=f"{JOURNAL_NAME}:1"):
        clean(collection.raw, out, collection.plain, workers=1, limit=1)


def test_the_cut_end_of_a_journal_is_said_and_read_again(collection, capsys):
    out = collection.folder / "out"
    due, _ = clean(collection.raw, out, collection.plain, workers=1)
    (out / MANIFEST_NAME).rename(out / JOURNAL_NAME)
    (out / JOURNAL_NAME).write_bytes((out / JOURNAL_NAME).read_bytes()[:-20])
    assert clean(collection.raw, out, collection.plain, workers=1)[0] == due
    assert "cut off" in capsys.readouterr().err


def test_a_georeference_without_a_place_is_a_verdict_and_ends_no_run(collection):
    path = next((collection.raw / "images/T").iterdir())
    with rasterio.open(path, "r+") as file:
        file.transform = Affine(10, 0, float("nan"), 0, -10, float("inf"))
    entries, summary = clean(collection.raw, collection.folder / "out", collection.plain, workers=1)
    assert summary.found == 9
    [spoilt] = [entry for entry in entries if entry.image and path.name in entry.image]
    assert [reason.code for reason in spoilt.reasons if "georeference" in reason.found] == ["unreadable"]


def test_a_folder_that_cannot_be_looked_into_is_named_and_what_it_gave_stays(collection, monkeypatch):
    collection.add(8, 1, city="U")
    out = collection.folder / "out"
    clean(collection.raw, out, collection.plain, workers=1)
    kept = sorted(path.name for path in out.rglob("*.tif"))
    hidden = collection.raw / "images/U"
    real = pairs.os.scandir

    def scandir(path):
        if Path(path) == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(pairs.os, "scandir", scandir)
    entries, summary = clean(collection.raw, out, collection.plain, workers=1)
    assert sorted(path.name for path in out.rglob("*.tif")) == kept
    assert any(entry.image == "images/U" and entry.reasons[0].code == "unreadable" for entry in entries)
    assert summary.found == summary.accepted + summary.repaired + summary.rejected


def test_a_disk_that_does_not_answer_ends_the_run_and_nothing_is_lost(collection, monkeypatch):
    out = collection.folder / "out"
    clean(collection.raw, out, collection.plain, workers=1)
    kept = sorted(path.name for path in out.rglob("*"))

    def scandir(path):
        raise OSError(107, "Transport endpoint is not connected", str(path))

    monkeypatch.setattr(pairs.os, "scandir", scandir)
    with pytest.raises(GreenError, match="cannot be looked into"):
        clean(collection.raw, out, collection.plain, workers=1)
    monkeypatch.undo()
    assert sorted(path.name for path in out.rglob("*")) == kept


@pytest.mark.parametrize("name", ["zarr.json", "recipe.yaml"])
def test_brackets_without_an_end_are_one_message(tmp_path, name):
    write_tiny_store(tmp_path / "s")
    (tmp_path / "s" / name).write_text("[" * 20_000)
    with pytest.raises(GreenError):
        open_store(tmp_path / "s") if name == "zarr.json" else load_recipe(tmp_path / "s" / name)


def test_a_contract_with_half_a_character_is_refused(tmp_path):
    write_tiny_store(tmp_path / "s")
    text = (tmp_path / "s/zarr.json").read_text()
    (tmp_path / "s/zarr.json").write_text(text.replace('"class0"', '"\\ud800"'))
    with pytest.raises(StoreError):
        open_store(tmp_path / "s")


def test_blocks_without_a_place_are_a_verdict_and_no_pixels_out_of_memory(collection):
    """Of a strip that its tags leave out GDAL hands on what was in memory: another verdict each time."""
    path = next((collection.raw / "masks/T_masks").iterdir())
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == 278:
            data[entry + 8 : entry + 10] = (7).to_bytes(2, "little")
    path.write_bytes(data)
    entries, _ = clean(collection.raw, collection.folder / "out", collection.plain, workers=1)
    [spoilt] = [entry for entry in entries if entry.mask and path.name in entry.mask]
    assert "blocks that hold" in spoilt.reasons[0].found and spoilt.reasons[0].code == "unreadable"


@pytest.mark.parametrize("tag", [273, 279], ids=["offsets", "sizes"])
def test_strips_without_a_size_are_a_verdict_and_no_zeros(empty_collection, tag):
    """GDAL ignores a list that is too short, and gives zeros for the strips it lacks: four fifths of a mask, say."""
    made = empty_collection
    made.add(1, 1, blockysize=4)
    path = next((made.raw / "masks/T_masks").iterdir())
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12):
        if int.from_bytes(data[entry : entry + 2], "little") == tag:
            data[entry + 4 : entry + 8] = (2).to_bytes(4, "little")
    path.write_bytes(data)
    [spoilt], _ = clean(made.raw, made.folder / "out", made.plain, workers=1)
    reason = spoilt.reasons[0]
    assert (reason.code, reason.file) == ("unreadable", "mask")
    assert re.match(r"2 of the \d+ blocks that hold .* have a place and a size in it", reason.found)


ODD = [
    b"a b",
    b"a'b\"c",
    b"a\nb",
    "\u00e4\u65e5".encode(),
    b"<script>alert(1)<",
    b"-rf",
    b"%s{0}",
    b"\x1b[31m",
    b"a\\b",
    b"$(e)`f`",
]


def test_pairs_of_any_name_are_cleaned_and_cut_and_those_that_are_no_text_are_named(empty_collection):
    made = empty_collection
    names = [*ODD, b"x" * 230, b"bad\xff"]
    for area, name in enumerate(names):
        made.add(area, 1)
        for folder, ending in (("images/T", ".tif"), ("masks/T_masks", "_fractional_mask.tif")):
            here = os.fsencode(made.raw / folder)
            os.rename(here + f"/T_2020_{area}_1_GeoTIFF{ending}".encode(), here + b"/" + name + ending.encode())
    recipe = load_recipe(
        made.recipe(
            pairing={
                "images": "images/T/{site}.tif",
                "masks": "masks/T_masks/{site}_fractional_mask.tif",
                "group": "{site}",
                "time": "",
            }
        )
    )
    entries, summary = clean(made.raw, made.folder / "c", recipe, workers=1)
    refused = [entry for entry in entries if entry.verdict == "rejected"]
    assert {entry.image or entry.mask for entry in refused} == {
        "images/T/bad\\xff.tif",
        *(["masks/T_masks/bad\\xff_fractional_mask.tif"] if len(refused) > 1 else []),
    }
    assert summary.accepted + summary.repaired == len(names) - 1
    built = tile(made.folder / "c", made.folder / "s.zarr", workers=0)
    assert built.contract.sources == len(names) - 1 and verify(str(made.folder / "s.zarr"), deep=True) == []
    page = (made.folder / "c" / "report.html").read_text()
    assert "<script>alert" not in page
