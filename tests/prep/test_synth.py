"""The synthetic city is what it says, and the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from greenprep.cli.clean import app
from greenprep.synth.city import CLASSES, acquire, ground, write_city
from greenschemas.errors import ConfigError


def test_fractions_sum_to_one_and_every_class_occurs() -> None:
    fractions = np.stack([ground(np.random.default_rng(seed), 60) for seed in range(4)])
    np.testing.assert_allclose(fractions.sum(axis=1), 1, atol=1e-6)
    shares = fractions.mean(axis=(0, 2, 3))
    assert len(shares) == len(CLASSES) and shares.min() > 0.002
    mixed = (fractions.max(axis=1) < 0.99).mean()
    assert 0.15 < mixed < 0.8


def test_images_have_nineteen_bands_the_last_six_empty() -> None:
    image = acquire(np.random.default_rng(0), ground(np.random.default_rng(0), 40), winter=True)
    assert image.shape == (19, 40, 40) and image.dtype == np.uint16
    assert image[:13].min() >= 1 and image[13:].max() == 0


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_city(tmp_path / name, areas=1, times=1, size=33, seed=4, defects=True)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 60
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_the_command_writes_truth_and_refuses_a_used_folder(tmp_path: Path) -> None:
    arguments = ["synth", str(tmp_path / "city"), "--areas", "1", "--times", "1", "--size", "33", "--no-defects"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    truth = json.loads((tmp_path / "city" / "truth.json").read_text())
    assert [one["defect"] for one in truth.values()] == [None]
    with pytest.raises(ConfigError, match="is not empty"):
        write_city(tmp_path / "city", areas=1, times=1, size=33, seed=0, defects=False)
