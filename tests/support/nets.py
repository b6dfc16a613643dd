"""Settings of a net so small that a test trains it in a second."""

from __future__ import annotations

__all__ = ["QUICK"]

QUICK = (
    "model.preset=tiny",
    "model.dims=[8,16]",
    "model.depths=[1,1]",
    "model.depths_decoder=[1,1]",
    "batch_size=4",
    "accelerator=cpu",
    "trees=false",
)
