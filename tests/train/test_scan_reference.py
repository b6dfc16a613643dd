"""The definition of the scan, against mamba's and against itself."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from greenschemas.errors import ConfigError
from greentrain.nets.scan import selective_scan
from greentrain.nets.scan.mamba import mamba_scan
from greentrain.nets.scan.reference import ScanInputs, reference_scan

FIXTURE = Path(__file__).parent / "fixtures" / "scan_B2_D24_L64_N16_G4_f64.pt"


def test_reference_gives_mamba_s_output_and_gradients_in_double() -> None:
    case = torch.load(FIXTURE, weights_only=True)
    inputs = {name: value.clone().requires_grad_() for name, value in case["inputs"].items()}
    out = selective_scan(**inputs, delta_softplus=True, backend="reference")
    torch.testing.assert_close(out, case["out"], atol=1e-10, rtol=1e-10)
    out.backward(case["grad_out"])
    for name, value in inputs.items():
        torch.testing.assert_close(value.grad, case["grads"][name], atol=1e-10, rtol=1e-10, msg=name)


def test_one_step_worked_by_hand() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    y = selective_scan(
        3 * one, 0.5 * one, -one[0], 2 * one[None], 5 * one[None], 7 * one[0, 0], None, False, "reference"
    )
    assert y.item() == pytest.approx(0.5 * 3 * 2 * 5 + 7 * 3)


def test_an_unknown_kernel_is_refused_with_the_nearest() -> None:
    x, m = torch.ones(1, 1, 1), torch.ones(1, 1, 1, 1)
    with pytest.raises(ConfigError, match="Did you mean `reference`"):
        selective_scan(x, x, x[0], m, m, None, None, backend="refrence")


@pytest.mark.parametrize("groups", [2, 3])
def test_shapes_that_do_not_fit_are_refused(groups: int) -> None:
    u, A, B = torch.ones(1, 4, 5), torch.ones(4, 2), torch.ones(1, groups, 2, 5 + (groups == 2))
    with pytest.raises(ConfigError, match="multiple of G"):
        selective_scan(u, u, A, B, B, None, None)


def test_a_vector_of_another_length_is_refused() -> None:
    u, A, B = torch.ones(1, 4, 5), torch.ones(4, 2), torch.ones(1, 2, 2, 5)
    with pytest.raises(ConfigError, match="one value a channel"):
        selective_scan(u, u, A, B, B, torch.ones(3), None)


def test_what_mamba_ssm_is_handed_is_what_it_calls_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel needs a card; the order of its arguments (mamba-ssm 2.3) does not. Between D and the bias stands z."""

    def selective_scan_fn(
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
    ) -> Tensor:
        assert z is None and not return_last_state
        return reference_scan(ScanInputs(u, delta, A, B, C, D, delta_bias, delta_softplus))

    module = ModuleType("mamba_ssm.ops.selective_scan_interface")
    module.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", module)
    inputs = ScanInputs(**torch.load(FIXTURE, weights_only=True)["inputs"], delta_softplus=True)
    torch.testing.assert_close(mamba_scan(inputs), reference_scan(inputs))
