"""Ask a person what files cannot tell; each question has the guess as its answer. Pure but for the questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenprep.init.guess import Guess
from greenschemas.errors import RecipeError
from greenschemas.recipe import Recipe

__all__ = ["with_answers"]


def with_answers(guessed: Guess, prompt: Callable[[str, str], str]) -> Guess:
    """The guess with a person's answers in it.

    prompt: called with a question and the answer that is taken by default. Raises RecipeError for answers that cannot
    be.
    """
    data: dict[str, Any] = guessed.recipe.model_dump()
    unsure, notes = set(guessed.unsure), dict(guessed.notes)
    pairing, mask = data["pairing"], data["mask"]
    parts = ", ".join(f"{{{part}}}" for part in guessed.recipe.pairing.parts)
    if "pairing.group" in unsure:
        pairing["group"] = prompt(f"Parts of the name that say which ground it is, of {parts}", pairing["group"])
        del pairing["time"]  # Whatever the group does not use.
    if "bands" in unsure:
        names = [band["name"] for band in data["bands"]]
        given = prompt("Names of the bands, in their order", " ".join(names)).replace(",", " ").split()
        if given != names:
            data["bands"] = [{"name": name} for name in given]
    if "mask.unlabelled" in unsure:
        known = mask["unlabelled"]
        answer = prompt("Code that means no label, or none", "none" if known is None else f"{known:g}")
        mask["unlabelled"] = None if answer == "none" else answer
    if "mask.classes" in unsure:
        mask["classes"] = _classes(mask["classes"], mask["unlabelled"], prompt)
    notes |= dict.fromkeys(unsure & {"pairing.group", "bands", "mask.unlabelled", "mask.classes"}, "as answered")
    return Guess(Recipe.parse("the answers", data, RecipeError), notes)


def _classes(classes: Any, unlabelled: object, prompt: Callable[[str, str], str]) -> Any:
    if not isinstance(classes, dict):
        return [prompt(f"Class of band {i}", name) for i, name in enumerate(classes, 1)]
    return {
        code: prompt(f"Class of code {code}", name) for code, name in classes.items() if str(code) != str(unlabelled)
    }
