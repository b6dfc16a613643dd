"""The page of a run: complete, escaped, without the network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenschemas.store import open_store
from greentrain.config import load_config
from greentrain.study.run_report import write_run_report
from greentrain.training.fit import fit
from greentrain.training.record import read_record, write_record
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_page_holds_all_that_a_run_was(tmp_path: Path) -> None:
    write_tiny_store(tmp_path / "<s>.zarr", channels=3, classes=3, sources=4, tiles_each=2, size=16)
    store = open_store(tmp_path / "<s>.zarr")
    config = load_config(
        None,
        [
            "model.preset=tiny",
            "model.dims=[8,16]",
            "model.depths=[1,1]",
            "model.depths_decoder=[1,1]",
            "epochs=2",
            "accelerator=cpu",
        ],
    )
    fit(store, tmp_path / "run", config, command=("greentrain", "fit", "<b>"))
    page = write_run_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "<b>" not in page.split("<h2>What ran</h2>")[1]
    assert "&lt;b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<svg") == 3 and page.count("<polyline") == 5
    assert "Run run" not in page and "<title>run: finished after 2 epochs</title>" in page
    assert "train " in page and "net " in page  # told when pointed at
    assert page.count('alt="error"') == 8
    for text in (
        "Mean IoU",
        "class2",
        "Confusion",
        "Worst tiles",
        "Best tiles",
        "torch",
        "model:",
        store.contract.identity(),
        "epochs: 2",
    ):
        assert text in page
    assert "Gradient boosting" not in page  # which `fit` of the command line adds
    known = {"trees_iou": 0.8142, "with_trees_iou": 0.7541, "averaged": True}
    write_record(tmp_path / "run", read_record(tmp_path / "run").model_copy(update=known))
    page = " ".join(write_run_report(tmp_path / "run").read_text(encoding="utf-8").split())
    assert (
        "<b>0.814</b> on the same ground. The mean of net and trees: <b>0.754</b>, and the run predicts with it."
        in page
    )
    (tmp_path / "<s>.zarr").rename(tmp_path / "away.zarr")
    assert "Worst tiles" not in write_run_report(tmp_path / "run").read_text(encoding="utf-8")
