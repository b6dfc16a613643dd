"""The card of a net: a STAC item that pystac reads as a model (MLM), and a text with the same numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pystac
import pytest
from pydantic import ValidationError
from pystac.extensions.mlm import MLMExtension
from pystac.validation import RegisteredValidator
from stac_model.schema import MLModelProperties
from typer.testing import CliRunner

from greenschemas.store import open_store
from greentrain.cli import app
from greentrain.config import load_config
from greentrain.study.evaluate import evaluate
from greentrain.training.fit import fit
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch, with its cards."""
    folder = tmp_path_factory.mktemp("card")
    write_tiny_store(folder / "s.zarr")
    fit(open_store(folder / "s.zarr"), folder / "7 städte", load_config(None, ["model.preset=tiny", "epochs=1"]))
    done = CliRunner().invoke(app, ["card", str(folder / "7 städte"), "--licence", "CC-BY-4.0"], catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.count("card.") == 2
    return folder / "7 städte"


def test_pystac_reads_the_card_as_a_model(run: Path) -> None:
    data = json.loads((run / "card.json").read_text(encoding="utf-8"))
    RegisteredValidator.get_validator().validate_core(data, pystac.STACObjectType.ITEM, "1.1.0")
    item = pystac.Item.from_file(str(run / "card.json"))
    assert MLMExtension.get_schema_uri() in item.stac_extensions
    model = MLMExtension.ext(item)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.-]+[a-zA-Z0-9]", model.mlm_name), "what the extension's schema asks for"
    assert (model.architecture, model.framework, model.pretrained) == ("VM-UNet", "PyTorch", False)
    assert [str(task) for task in model.tasks] == ["semantic-segmentation", "regression"]
    (one,), (other,) = model.input, model.output
    assert one.bands == ["B1", "B2"] or (one.bands and len(one.bands) == one.input.shape[1] == len(one.value_scaling))
    assert one.input.shape[2:] == other.result.shape[2:] and other.result.shape[1] == len(other.classes)
    weights = item.assets["weights"]
    assert weights.extra_fields["mlm:artifact_type"] == "torch.save" and "mlm:model" in weights.roles
    assert (run / weights.href).stat().st_size == weights.extra_fields["file:size"]
    assert all(set(key) <= set("abcdefghijklmnopqrstuvwxyz_") for key in model.hyperparameters.to_dict())


def test_the_card_is_a_model_by_the_extension_s_own_schema(run: Path) -> None:
    """The oracle is stac-model, which the extension's schema is kept in step with; it refuses what lacks a field."""
    properties = json.loads((run / "card.json").read_text(encoding="utf-8"))["properties"]
    found = MLModelProperties.model_validate(properties)
    assert found.name == properties["mlm:name"] and set(found.tasks) == set(properties["mlm:tasks"])
    for name in ("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"):
        with pytest.raises(ValidationError, match=name):
            MLModelProperties.model_validate({key: value for key, value in properties.items() if key != name})


def test_the_text_says_what_evaluate_says(run: Path) -> None:
    text = (run / "card.md").read_text(encoding="utf-8")
    found = evaluate(run)
    for name, row in found["classes"].items():
        score = "absent" if row["iou"] is None else f"{row['iou']:.3f}"
        assert re.search(rf"^\| `{name}` \| {score} \|", text, re.MULTILINE)
    assert f"| mean | {found['mean']['iou']:.3f} |" in text
    assert f"IoU of always `{found['constant']['class']}`" in text
    assert f"{found['calibration_error']:.3f}" in text and f"{found['temperature']:.3f}" in text
    assert "Licence of the weights: CC-BY-4.0." in text and "not stated in the recipe" in text
    assert "cannot stand for other places" in text, "there are few groups"


def test_a_run_without_a_checkpoint_has_no_card(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["card", str(tmp_path)])
    assert "no checkpoint" in str(done.exception)
