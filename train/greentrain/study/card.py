"""`greentrain card`: what a trained net is, for catalogues and for people, in RUN/card.json and RUN/card.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from greenschemas.files import write_whole
from greentrain.study.evaluate import evaluate
from greentrain.study.model_card import Subject, mlm_item
from greentrain.study.model_card_text import card_text
from greentrain.training.checkpoint import load_trained
from greentrain.training.record import read_record

__all__ = ["write_card"]


def write_card(
    run: Path, store: str | None = None, split: str = "val", *, licence: str | None = None, device: str = "auto"
) -> tuple[Path, Path]:
    """Write both cards of a run's best net, scored now on a split of its store (or of another); their paths.

    licence: of the weights, an SPDX identifier. Raises ConfigError where there is no run, StoreError where its store is
    gone.
    """
    found = evaluate(run, store, split, device=device)
    subject = _subject(run, licence)
    item: dict[str, Any] = mlm_item(subject, found)
    data, text = run / "card.json", run / "card.md"
    write_whole(data, json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(text, card_text(subject, found))
    return data, text


def _subject(run: Path, licence: str | None) -> Subject:
    trained = load_trained(run)
    weights = list(trained.net.parameters())
    return Subject(
        name=run.resolve().name,
        record=read_record(run),
        config=trained.config,
        contract=trained.contract,
        normaliser=trained.normaliser,
        classes=trained.rule.classes,
        parameters=sum(weight.numel() for weight in weights),
        weights_bytes=sum(weight.numel() * weight.element_size() for weight in weights),
        file_bytes=(run / "checkpoints" / "best.pt").stat().st_size,
        temperature=trained.temperature,
        trees=trained.trees is not None,
        licence=licence,
    )
