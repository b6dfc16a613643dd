"""A run of which a file is flipped, cut or gone: whoever predicts with it gets the same, or is told."""

import random
import shutil

import numpy as np
import pytest
import torch

import greentrain as gt
from greenschemas.errors import GreenError
from greentrain.study.trees import TreesBaseline
from greentrain.training.checkpoint import TREES_NAME, load_trained, newest_checkpoint
from greentrain.training.record import read_record, write_record
from support.nets import QUICK
from support.stores import write_tiny_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Fabric asks for a package that we do not use.
RAW = torch.from_numpy(np.random.default_rng(0).normal(1000, 100, (1, 2, 16, 16)).astype(np.float32))
VALID = torch.ones(1, 16, 16, dtype=torch.bool)


class Bomb:
    """Runs code where somebody unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_tiny_store(folder / "s.zarr")
    gt.fit(folder / "s.zarr", folder / "run", changes=QUICK, epochs=1)
    trained, rng = load_trained(folder / "run"), np.random.default_rng(1)
    channels, classes = trained.normaliser.channels, len(trained.rule.classes)
    fraction = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, (2, 16, 16))].transpose(0, 3, 1, 2)
    trees = TreesBaseline(iterations=[8]).fit(rng.normal(size=(2, channels, 16, 16)).astype(np.float32), fraction)
    trees.as_arrays(channels).save(folder / "run" / "checkpoints" / TREES_NAME)
    write_record(folder / "run", read_record(folder / "run").model_copy(update={"averaged": True}))
    return folder / "run"


def used(run):
    """All that is made of a run: its answer, its scores, and where it would go on."""
    answer = load_trained(run).probabilities(RAW, VALID)
    return answer, newest_checkpoint(run) is None


def test_a_run_answers_as_before_or_it_is_told(run, tmp_path, capsys):
    due = used(run)
    copy, chance = tmp_path / "run", random.Random(0)
    shutil.copytree(run, copy)
    told = 0
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data = path.read_bytes()
        flips = [
            bytes([data[at] ^ 1 << chance.randrange(8)]).join((data[:at], data[at + 1 :]))
            for at in [0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(2))]
        ]
        for spoilt in (*flips, data[: len(data) // 2], b"", None):
            path.unlink() if spoilt is None else path.write_bytes(spoilt)
            try:
                answer, fresh = used(copy)
            except GreenError as problem:
                told += 1
                assert "\n" not in str(problem)
            else:
                warned = "its net stands alone now" in capsys.readouterr().err
                assert warned or torch.equal(answer, due[0]), path
                assert warned == (path.name == TREES_NAME and spoilt is None), path
                assert fresh == due[1] or path.parent.name == "checkpoints", path
            path.write_bytes(data)
    assert told >= 15


def test_no_file_of_a_run_runs_code(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    trees = tmp_path / "run" / "checkpoints" / TREES_NAME
    np.savez(trees, **{name: np.array([Bomb()], object) for name in ("channels", "feature", "child")})
    with pytest.raises(GreenError, match="a broken file of trees"):
        load_trained(tmp_path / "run")
