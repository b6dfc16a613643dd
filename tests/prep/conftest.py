"""What the tests of greenprep share: collections of raw files."""

import pytest

from support.raw import Collection, tree


@pytest.fixture
def empty_collection(tmp_path):
    """No pair yet."""
    return Collection(tmp_path)


@pytest.fixture
def collection(tmp_path):
    """Nine pairs of five areas and several sizes."""
    made = Collection(tmp_path)
    for area in range(5):
        for time in (1, 2) if area < 4 else (1,):
            made.add(area, time, 40 + 9 * (area % 2), 45 + 30 * (area == 2))
    return made


@pytest.fixture
def files():
    """`tree`, for tests that compare stores byte for byte."""
    return tree
