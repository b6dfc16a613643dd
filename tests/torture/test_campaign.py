"""The campaign in short: some of each kind, so that a reader or a command that breaks is seen at once."""

import random

import pytest

from support.campaign import files, kills, quotas, texts

BAD = ("WRONG", "FOREIGN", "UNSTABLE")


@pytest.mark.parametrize(
    ("part", "many"),
    [
        (texts, 60),
        pytest.param(files, 40, marks=pytest.mark.slow),
        pytest.param(kills, 2, marks=pytest.mark.slow),
        pytest.param(quotas, 2, marks=pytest.mark.slow),
    ],
    ids=["texts", "files", "kills", "quotas"],
)
def test_nothing_happens_that_nobody_explained(tmp_path, part, many):
    outcomes = list(part(tmp_path, random.Random(3), many))
    assert len(outcomes) >= many
    assert [outcome for outcome in outcomes if outcome[1].startswith(BAD)] == []
