"""Exported programs against the nets they came from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from greentrain.nets.export import export_model
from greentrain.nets.presets import build_model
from greentrain.nets.scan.doubling import doubling_scan
from greentrain.nets.scan.reference import ScanInputs, reference_scan

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


def test_an_exported_net_gives_the_net_s_logits_without_this_package(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("tiny", 3, 2).train()
    x = torch.randn(1, 3, 33, 40)
    assert export_model(model, x, tmp_path / "net.pt2") < 1e-5
    assert model.training
    torch.save((x.repeat(3, 1, 1, 1), model.eval()(x).detach()), tmp_path / "case.pt")
    code = (
        "import sys, torch; sys.modules['greentrain'] = None; x, y = torch.load('case.pt');"
        "out = torch.export.load('net.pt2').module()(x); assert torch.allclose(out, y.expand_as(out), atol=1e-4)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("preset", ["tiny", "detail"])
def test_a_net_goes_through_onnx_and_gives_the_same_logits_there(preset: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="ONNX is no part of the package: pip install onnx onnxscript onnxruntime")
    runtime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")
    torch.manual_seed(0)
    model, x = build_model(preset, 3, 2).eval(), torch.randn(2, 3, 32, 32)
    file = str(tmp_path / "net.onnx")
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    torch.onnx.export(model, (x,), file, dynamo=True, verbose=False, dynamic_shapes=shapes)
    session = runtime.InferenceSession(file)
    more = torch.randn(3, 3, 32, 32)
    found = session.run(None, {session.get_inputs()[0].name: more.numpy()})[0]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), model(more), atol=1e-4, rtol=0)
