"""Scenes as people have them, mapped as they are: the same map as of the file that `greenprep stack` makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor

from greenprep.scenes.stack import stack
from greenschemas.bands import Band, Role
from greenschemas.errors import SourceError
from greenschemas.values import quality_of
from greentrain.maps.outputs import pair_up
from greentrain.maps.predict import Classifier, Options, predict_scene
from greentrain.maps.raster import open_raster
from greentrain.maps.scene import Layout, open_scene
from support.https import serve_folder
from support.safe import number, write_band, write_safe

BANDS = (
    Band(name="B4", common="red"),
    Band(name="B5", common="rededge071"),
    Band(name="B1", common="coastal"),
    Band(name="SCL", role=Role.MASK),
)
LAYOUT = Layout(BANDS, ("B1", "B4", "B5"), quality_of(BANDS))


def net(image: Tensor, valid: Tensor) -> Tensor:
    return torch.nn.functional.one_hot((image.sum(1) > 4750).long(), 2).movedim(-1, 1).float()


CLASSIFIER = Classifier("net", ("dark", "bright"), LAYOUT, 16, net)


def mapped(scene: Path, out: Path, **how: object) -> np.ndarray:
    predict_scene(CLASSIFIER, scene, out, Options(overwrite=True, **how))  # type: ignore[arg-type]
    with rasterio.open(out) as file:
        return np.asarray(file.read(1))


@pytest.fixture
def due(tmp_path: Path) -> np.ndarray:
    """The map of the stacked file; `tmp_path` holds the SAFE folder."""
    safe = write_safe(tmp_path, "2A", -1000)
    stack(safe, tmp_path / "stacked.tif", BANDS)
    label = mapped(tmp_path / "stacked.tif", tmp_path / "due.tif")
    assert {0, 1, 255} == set(np.unique(label)) and (label[:, :10] == 255).all()  # clouds of SCL
    return label


def test_a_safe_folder_is_mapped_as_what_is_stacked_of_it(tmp_path, due) -> None:
    safe = next(tmp_path.glob("*.SAFE"))
    assert (mapped(safe, tmp_path / "map.tif") == due).all()
    assert pair_up([safe], tmp_path / "maps") == [(safe, tmp_path / "maps" / f"{safe.stem}_map.tif")]
    with open_scene(safe, LAYOUT) as scene, open_scene(tmp_path / "stacked.tif", LAYOUT) as other:
        assert scene.scaling == other.scaling == dict.fromkeys(("B4", "B5", "B1"), (1e-4, -0.1))
        assert scene.raster.tags["PROCESSING_BASELINE"] == "04.00"
        for window in ((0, 0, 60, 60), (11, 7, 23, 31)):
            assert all((a == b).all() for a, b in zip(_parts(scene, window), _parts(other, window), strict=True))
    # A changed band is another scene: the map is made anew.
    red = next(safe.rglob("*_B04_10m.jp2"))
    write_band(red, number("B04", 10) + np.uint16(3000), 10, "JP2OpenJPEG")
    assert (mapped(safe, tmp_path / "map.tif") != due).any()


def _parts(scene, window: tuple[int, int, int, int]) -> Iterator[np.ndarray]:
    part = scene.read(*window)
    yield from (part.values, part.usable, part.cloud)


@pytest.fixture
def site(tmp_path: Path, due: np.ndarray) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """(URL of a server of the stacked file and of single bands, what it was asked)."""
    for name, band, metres in (("red", "B04", 10), ("re1", "B05", 20), ("coastal", "B01", 60)):
        write_band(tmp_path / f"www/{name}.tif", number(band, metres), metres, nodata=0)
    cloud = np.where(np.arange(30) < 5, 9, 4).astype(np.uint8) * np.ones((30, 30), np.uint8)
    write_band(tmp_path / "www/scl.tif", cloud, 20)
    (tmp_path / "stacked.tif").rename(tmp_path / "www/stacked.tif")
    # Else the variable is read once, when rasterio is imported.
    with serve_folder(tmp_path / "www", tmp_path) as (url, pem, asked), rasterio.Env(GDAL_CURL_CA_BUNDLE=str(pem)):
        yield url, asked


def test_a_file_on_a_server_is_read_where_that_is_allowed_and_nowhere_else(tmp_path, due, site) -> None:
    url, asked = site
    there = Path(f"{url}/stacked.tif?signature=secret")
    with pytest.raises(SourceError, match=r"it lies on a server.*--remote"):
        mapped(there, tmp_path / "map.tif")
    assert not asked
    assert (mapped(there, tmp_path / "map.tif", remote=True) == due).all()
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags()["GREENSPACE_SCENE"] == "stacked.tif"
        assert not any("secret" in value for value in file.tags().values())
    assert {path for path, _ in asked} == {"/stacked.tif?signature=secret"}  # no sidecar was looked for
    with pytest.raises(SourceError, match="not a GeoTIFF that can be opened"):
        mapped(Path(f"{url}/none.tif"), tmp_path / "map.tif", remote=True)


def test_assets_of_an_item_are_read_from_a_server(tmp_path, due, site) -> None:
    url, asked = site
    keys = {"red": "red", "re1": "rededge071", "coastal": "coastal"}
    assets = {key: {"href": f"{url}/{key}.tif", "eo:bands": [{"common_name": name}]} for key, name in keys.items()}
    item = tmp_path / "item.json"
    item.write_text(json.dumps({"id": "x", "assets": {**assets, "scl": {"href": f"{url}/scl.tif"}}}))
    with pytest.raises(SourceError, match="it lies on a server"):
        mapped(item, tmp_path / "map.tif")
    assert not asked
    assert (mapped(item, tmp_path / "map.tif", remote=True) == due).all()


def test_only_windows_of_a_large_file_travel(tmp_path, site) -> None:
    url, asked = site
    values = np.random.default_rng(0).integers(1000, 3000, (3, 2048, 2048)).astype(np.uint16)
    write_band(tmp_path / "www/large.tif", values, 10, tiled=True, blockxsize=256, blockysize=256)
    with open_raster(Path(f"{url}/large.tif"), 3, remote=True) as raster:
        part = raster.stored(700, 300, 64, 64, (0, 1, 2))
    assert (part == values[:, 700:764, 300:364]).all()
    assert sum(sent for _, sent in asked) < values.nbytes / 8


@pytest.mark.parametrize(
    "name",
    [
        "/vsicurl/https://127.0.0.1/scene.tif",
        "/vsis3/bucket/scene.tif",
        "/vsizip//tmp/a.zip/scene.tif",
        "/vsimem/scene.tif",
        "GTIFF_DIR:1:/vsis3/bucket/scene.tif",
        "GTIFF_DIR:1:https://127.0.0.1/scene.tif",
    ],
)
def test_gdal_is_told_no_name_that_is_no_file(name, tmp_path) -> None:
    for remote in (False, True):
        with pytest.raises(SourceError, match="no such file"):
            mapped(Path(name), tmp_path / "map.tif", remote=remote)


@pytest.mark.parametrize("url", ["http://127.0.0.1/scene.tif", "gs://bucket/scene.tif", "ftp://127.0.0.1/scene.tif"])
def test_other_protocols_stay_closed(url, tmp_path) -> None:
    with pytest.raises(SourceError, match="is not read"):
        mapped(Path(url), tmp_path / "map.tif", remote=True)


def test_a_folder_without_the_runs_bands_is_no_scene(tmp_path) -> None:
    write_band(tmp_path / "folder/VV.tif", number("B04", 10), 10)
    with pytest.raises(SourceError, match=r"no file of any band of the run \(B4, B5, B1, SCL\)"):
        mapped(tmp_path / "folder", tmp_path / "map.tif")
    write_band(tmp_path / "folder/B04.tif", number("B04", 10), 10)
    with pytest.raises(SourceError, match="no band B1, B5; it has B4"):
        mapped(tmp_path / "folder", tmp_path / "map.tif")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_file_in_a_bucket_is_read(tmp_path, due, monkeypatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        secrets = {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "DEFAULT_REGION": "us-east-1"}
        for key, value in {
            **secrets,
            "S3_ENDPOINT": f"{host}:{port}",
            "HTTPS": "NO",
            "VIRTUAL_HOSTING": "FALSE",
        }.items():
            monkeypatch.setenv(f"AWS_{key}", value)
        s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        s3.create_bucket(Bucket="bucket")
        s3.upload_file(str(tmp_path / "stacked.tif"), "bucket", "a/stacked.tif")
        assert (mapped(Path("s3://bucket/a/stacked.tif"), tmp_path / "map.tif", remote=True) == due).all()
    finally:
        server.stop()
