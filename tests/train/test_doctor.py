"""The doctor finds what is wrong with a store or settings before a night is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from greenschemas.errors import ConfigError
from greenschemas.store import open_store, write_contract
from greentrain.config import load_config
from greentrain.training import doctor
from greentrain.training.doctor import Severity, all_checks, quick_checks, stop_if_failed
from support.nets import QUICK
from support.stores import write_tiny_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_tiny_store(tmp_path / "s.zarr", channels=3, classes=3, sources=4, tiles_each=3, size=16)
    return tmp_path / "s.zarr"


def look(store: Path, *changes: str, **how: Any) -> dict[str, doctor.Diagnosis]:
    checks, _ = quick_checks(open_store(store), load_config(None, [*QUICK, *changes]), **how)
    return {c.name: c for c in checks}


def test_a_good_store_and_a_sound_net_pass_every_check(store: Path) -> None:
    checks = list(all_checks(open_store(store), load_config(None, QUICK)))
    assert [c.name for c in checks] == [
        "store",
        "bands",
        "values",
        "classes",
        "steps",
        "a batch",
        "scan",
        "memory",
        "speed",
        "overfit",
    ]
    assert all(c.level is Severity.OK for c in checks if c.name != "speed"), checks
    speed = next(c.found for c in checks if c.name == "speed")
    assert "the loader can feed" in speed and re.search(r"the run will take about \d+ (s|min|h) on this device", speed)


def test_the_time_of_a_run_counts_epochs_and_validations(store: Path) -> None:
    config, opened = load_config(None, [*QUICK, "epochs=10", "validate_every=3"]), open_store(store)
    learnt, scored = (len(opened.usable_tiles(split)) for split in ("train", "val"))
    assert doctor._run_seconds(opened, config, 2.0) == pytest.approx((10 * learnt + 4 * scored / 3) / 2)
    assert [doctor._roughly(time) for time in (90, 150, 7100, 9000)] == ["90 s", "2 min", "118 min", "2 h"]


def test_each_thing_that_is_wrong_is_named(store: Path) -> None:
    assert look(store, "bands=B9")["bands"].level is Severity.FAIL
    assert look(store, "bands=B1,B3")["bands"].level is Severity.WARN
    assert look(store, "target=forest")["classes"].level is Severity.FAIL
    group, contract = zarr.open_group(str(store), mode="r+"), open_store(store).contract
    assert contract.split is not None
    assert contract.statistics is not None
    bare = contract.statistics.model_copy(update={"class_share": (0.97, 0.03, 0.0)})
    leaky = contract.split.model_copy(update={"audit": "failed"})
    write_contract(group, contract.model_copy(update={"statistics": bare, "split": leaky}))
    assert look(store)["store"].level is Severity.FAIL
    found = look(store, allow_leak=True)
    assert found["store"].level is found["classes"].level is Severity.WARN
    assert "holds no class2" in found["classes"].found
    scarce = contract.statistics.model_copy(update={"class_share": (0.898, 0.1, 0.002)})
    write_contract(group, contract.model_copy(update={"statistics": scarce}))
    lost = look(store, "class_weights=none")["classes"]
    assert lost.level is Severity.WARN and "class2 below 0.5%, too rare" in lost.found
    assert look(store, "class_weights=sqrt")["classes"].level is Severity.OK


@pytest.mark.parametrize(
    ("flat", "level", "says"),
    [
        ((), Severity.OK, "2 channels; not used: B3"),
        ((1,), Severity.WARN, "B2 constant in the train split, seen as 0"),
        ((0, 1), Severity.FAIL, "none ever changes"),
    ],
)
def test_bands_that_never_change_are_named(store: Path, flat: tuple[int, ...], level: Severity, says: str) -> None:
    contract = open_store(store).contract
    assert contract.statistics is not None
    bands = tuple(
        band.model_copy(update={"std": 0.0}) if i in flat else band for i, band in enumerate(contract.statistics.bands)
    )
    statistics = contract.statistics.model_copy(update={"bands": bands})
    write_contract(zarr.open_group(str(store), mode="r+"), contract.model_copy(update={"statistics": statistics}))
    found = look(store)["bands"]
    assert found.level is level
    assert says in found.found


def test_a_store_of_one_class_is_not_trained_on(store: Path) -> None:
    contract = open_store(store).contract
    assert contract.statistics is not None
    statistics = contract.statistics.model_copy(update={"class_share": (0.0, 1.0, 0.0)})
    write_contract(zarr.open_group(str(store), mode="r+"), contract.model_copy(update={"statistics": statistics}))
    found = look(store)["classes"]
    assert found.level is Severity.FAIL
    assert "one class only" in found.found


def test_batches_larger_than_the_split_are_noticed(store: Path) -> None:
    assert look(store)["steps"].level is Severity.OK
    for change in ("batch_size=4000", "accumulate=8"):
        found = look(store, change)["steps"]
        assert found.level is Severity.WARN
        assert "of the train split" in found.found


@pytest.mark.parametrize(
    ("array", "value", "level", "says"),
    [
        ("fraction", 255, Severity.FAIL, "nothing to learn from"),
        ("image", 9000, Severity.WARN, "far from the statistics"),
    ],
)
def test_a_batch_that_cannot_teach_is_noticed(store: Path, array: str, value: int, level: Severity, says: str) -> None:
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(str(store), mode="r+")
        group[array][:] = np.full(group[array].shape, value, group[array].dtype)  # type: ignore[index, union-attr]
    found = look(store, "input_clip=null")["a batch"]
    assert found.level is level
    assert says in found.found
    if level is Severity.FAIL:
        with pytest.raises(ConfigError, match=f"a batch: .*{says}"):
            stop_if_failed([found], str(store))


def test_a_kernel_that_is_wrong_is_caught(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = doctor.selective_scan

    def wrong(*inputs: Any, backend: str) -> Any:
        return right(*inputs, backend=backend) * (1.01 if backend == "auto" else 1)

    monkeypatch.setattr(doctor, "selective_scan", wrong)
    assert look(store)["scan"].level is Severity.FAIL


def test_a_batch_that_does_not_fit_is_answered_with_one_that_would(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda: 3e5)
    memory = next(c for c in all_checks(open_store(store), load_config(None, QUICK)) if c.name == "memory")
    assert memory.level is Severity.WARN
    assert memory.remedy.startswith("set batch_size=")
