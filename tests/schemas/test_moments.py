"""Moments of groups, pooled, are those of all their pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.moments import pooled


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_pooling_any_cut_gives_the_moments_of_the_whole(sizes: list[int], block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(1000, 50, (2, size)) for size in sizes]
    count = np.array([[size] * 2 for size in sizes])
    mean = np.array([part.mean(axis=1) if part.size else np.zeros(2) for part in parts])
    apart = [part - centre[:, None] for part, centre in zip(parts, mean, strict=True)]
    comoment = np.array([part @ part.T for part in apart])
    blocks = (comoment[at : at + block] for at in range(0, len(sizes), block))
    total, centre, whole = pooled(count, mean, blocks)
    pixels = np.concatenate(parts, axis=1)
    assert total.tolist() == [pixels.shape[1]] * 2
    if pixels.size:
        # Sums of at most 54 numbers about 1000: 54 roundings of 2**-53 each, and their products for the co-moments.
        np.testing.assert_allclose(centre, pixels.mean(axis=1), rtol=1e-13)
        away = pixels - pixels.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(whole, away @ away.T, rtol=1e-9, atol=1e-7)
