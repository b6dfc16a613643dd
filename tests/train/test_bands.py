"""Choice of bands by name, role and PCA."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from greenschemas.errors import ConfigError
from greentrain.data.bands import choose_bands

NAMES = ("B2", "B3", "B4", "B8", "QA60", "B10")
ROLES = ("reflectance",) * 4 + ("mask", "dead")


def test_masks_and_dead_bands_are_no_features_unless_named() -> None:
    assert choose_bands("auto", NAMES, ROLES).names == ("B2", "B3", "B4", "B8")
    assert choose_bands("B8,QA60", NAMES, ROLES).names == ("B8", "QA60")
    assert choose_bands("role:mask, dead", NAMES, ROLES).names == ("QA60", "B10")


@given(st.permutations(NAMES))
def test_named_bands_keep_their_order(names: list[str]) -> None:
    choice = choose_bands(",".join(names), NAMES, ROLES)
    assert choice.names == tuple(names)


def test_pca_is_scikit_learn_s_of_z_scores() -> None:
    pixels = np.random.default_rng(0).normal(size=(500, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    centred = pixels - pixels.mean(0)
    choice = choose_bands("pca:2", NAMES, ROLES, count=500, comoment=centred.T @ centred)
    oracle = PCA(2).fit(centred[:, :4] / pixels[:, :4].std(0, ddof=1))
    assert choice.components is not None
    assert np.allclose(np.abs(choice.components), np.abs(oracle.components_))
    assert all(max(row, key=abs) > 0 for row in choice.components)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("B33", "Did you mean `B3`"),
        ("B2,B2", "named 2 times"),
        ("role:masks", "Did you mean `mask`"),
        ("pca:5", "1 to 4 components"),
        ("pca:x", "1 to 4 components"),
    ],
)
def test_what_is_not_there_is_refused(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("`", ".")):
        choose_bands(wanted, NAMES, ROLES, count=9, comoment=np.eye(6))


def test_pca_wants_statistics_and_bands_that_vary() -> None:
    with pytest.raises(ConfigError, match="greenprep split"):
        choose_bands("pca:2", NAMES, ROLES)
    with pytest.raises(ConfigError, match="B10 never vary"):
        choose_bands("pca:1:B2,B10", NAMES, ROLES, count=9, comoment=np.diag([1.0, 1, 1, 1, 1, 0]))
