"""Exported programs against the nets they came from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from greenschemas.errors import ConfigError
from greenschemas.store import open_store
from greentrain.cli import app
from greentrain.config import load_config
from greentrain.data.loader import open_loader
from greentrain.nets import export
from greentrain.nets.export import export_model
from greentrain.nets.presets import build_model
from greentrain.nets.scan.doubling import doubling_scan
from greentrain.nets.scan.reference import ScanInputs, reference_scan
from greentrain.training.checkpoint import load_trained
from greentrain.training.fit import fit
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("length", [1, 2, 37, 64])
@pytest.mark.parametrize("decay", [1.0, 1000.0])
def test_the_scan_by_doubling_is_the_reference(length: int, decay: float) -> None:
    g = torch.Generator().manual_seed(0)

    def r(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    A = -decay * torch.exp(r(6, 4))
    inputs = ScanInputs(r(2, 6, length), r(2, 6, length), A, r(2, 2, 4, length), r(2, 2, 4, length), r(6), r(6), True)
    torch.testing.assert_close(doubling_scan(inputs), reference_scan(inputs), atol=1e-11, rtol=1e-10)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, of three bands and principal components of them."""
    folder = tmp_path_factory.mktemp("export")
    write_tiny_store(folder / "s.zarr", channels=3, classes=3, sources=4, tiles_each=2, size=16)
    quick = ["dims=[8,16]", "depths=[1,1]", "depths_decoder=[1,1]", "scan=reference"]
    settings = ["model.preset=tiny", *(f"model.{key}" for key in quick), "epochs=1", "bands=pca:2", "accelerator=cpu"]
    fit(open_store(folder / "s.zarr"), folder / "run", load_config(None, settings))
    return folder / "run"


def test_an_exported_run_takes_raw_values_and_gives_its_logits_without_this_package(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "net.pt2")])
    assert done.exit_code == 0, done.output
    assert "of the run's" in done.output
    trained = load_trained(run)
    batch = next(iter(open_loader(open_store(run.parent / "s.zarr"), "all", 3, normaliser=trained.normaliser)))
    names = trained.normaliser.bands
    raw = open_loader(open_store(run.parent / "s.zarr"), "all", 3, normalise=False, bands=names)
    seen = raw.load(batch["tile"].numpy())
    given = torch.where(seen["valid"].unsqueeze(1), seen["image"].float(), torch.nan)
    torch.save((given, trained.net(batch["image"]).detach()), tmp_path / "case.pt")
    code = (
        "import json, sys, torch; sys.modules['greentrain'] = None; x, y = torch.load('case.pt');"
        "about = {'greentrain.json': ''}; out = torch.export.load('net.pt2', extra_files=about).module()(x);"
        "assert torch.allclose(out, y, atol=1e-4); print(json.loads(about['greentrain.json'])['classes'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout) == (0, "['class0', 'class1', 'class2']\n"), said.stderr


@pytest.mark.parametrize("preset", ["tiny", "detail"])
def test_a_net_goes_through_onnx_and_gives_the_same_logits_there(preset: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install onnx onnxscript onnxruntime")
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")
    torch.manual_seed(0)
    model, file = build_model(preset, 3, 2).train(), tmp_path / "net.onnx"
    found = export_model(model, torch.randn(2, 3, 32, 32), file, {"classes": ["a", "b"]})
    assert found.difference <= found.allowed < 1e-2
    assert model.training
    session = runtime.InferenceSession(str(file))
    assert session.get_modelmeta().custom_metadata_map["greentrain.json"] == '{"classes": ["a", "b"]}'
    assert session.run(None, {"raw": torch.zeros(3, 3, 32, 32).numpy()})[0].shape == (3, 2, 32, 32)


def test_a_program_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_write_torch", lambda net, x, path, about: lambda raw: net(raw) + 0.01)
    with pytest.raises(ConfigError, match=r"logits are 1\.0e-02 from the net's, where rounding explains"):
        export_model(torch.nn.Conv2d(3, 2, 1), torch.randn(2, 3, 4, 4), tmp_path / "net.pt2", {})
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_and_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = torch.nn.Conv2d(3, 2, 1), torch.randn(2, 3, 4, 4)
    with pytest.raises(ConfigError, match=r"Let it end in .pt2 or .onnx"):
        export_model(net, x, tmp_path / "net.pth", {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"no package `onnxruntime`. Install the extra: pip install 'greenspace\[onnx\]'"
    ):
        export_model(net, x, tmp_path / "net.onnx", {})
