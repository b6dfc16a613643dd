"""The campaign in short: some of each kind, so that a reader or a command that breaks is seen at once."""

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from support import kills
from support.campaign import BAD, PARTS, as_table, main
from support.jobs import scene_jobs

FEW = {
    "texts": 60,
    "fuzz": 100,
    "stores": 10,
    "readonly": 2,
    "files": 40,
    "repairs": 60,
    "quotas": 1,
    "disks": 1,
    "power": 1,
    "sources": 1,
}
QUICK = ("texts", "fuzz", "stores")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PARTS if name != "pauses"],
)
def test_nothing_happens_that_nobody_explained(tmp_path, name):
    part, _ = PARTS[name]
    part = partial(part, only="^(clean|split|fit|watch|sample)$") if name == "kills" else part
    outcomes = list(part(tmp_path, random.Random(3), FEW.get(name, 1)))
    assert outcomes
    for _, outcome in outcomes:
        assert not outcome.startswith(BAD), outcome
        if outcome.startswith("skipped"):
            pytest.skip(outcome)


@pytest.mark.slow
def test_a_command_that_is_paused_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    (tmp_path / "nothing").mkdir()
    some = {name: replace(job, words=("greenprep", *job.words)) for name, job in scene_jobs(tmp_path).items()}
    monkeypatch.setattr(kills, "jobs", lambda folder: some)
    assert list(kills.pauses(tmp_path, random.Random(1), 1)) == [(f"{name} paused", "exact") for name in some]


def test_the_campaign_counts_what_came_of_each_part(tmp_path, capsys, monkeypatch):
    none = [word for name in PARTS if name != "texts" for word in (f"--{name}", "0")]
    monkeypatch.setattr("sys.argv", ["campaign", "--texts", "2", "--json", str(tmp_path / "counts.json"), *none])
    assert main() == 0 and main() == 0
    held = json.loads((tmp_path / "counts.json").read_text())
    assert {sum(of_kind.values()) for of_kind in held.values()} == {4}
    assert "recipe mutated" in capsys.readouterr().out


def test_the_page_of_faults_says_what_was_counted():
    held = json.loads((Path(__file__).parent / "counts.json").read_text())
    page = Path(__file__).parents[2] / "docs" / "faults.md"
    assert as_table(held) in page.read_text()
    assert not [outcome for of_kind in held.values() for outcome in of_kind if outcome.startswith(BAD)]
