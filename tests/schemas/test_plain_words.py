"""Whatever stands in a recipe or in settings, the message is ours: no word of pydantic's reaches a user."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from greenschemas.errors import ConfigError
from greenschemas.recipe import Recipe

WRONG: tuple[Any, ...] = (
    "banana",
    "",
    "nan",
    -5,
    3.7,
    1e30,
    True,
    None,
    [],
    ["a"],
    [1, 2],
    [[1]],
    [{"name": 1}],
    [{"nam": "x"}],
    {},
    {"x": 1},
    {1: 2},
)
PYDANTICS = re.compile(
    r"(?i)\\binput |instance|valid |parse|tuple|dictionary|union|function-|is_instance|pydantic|class '"
)


def keys(model: BaseModel, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in type(model).model_fields:
        yield (*above, name)
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from keys(value, (*above, name))


def messages(model: type[Any]) -> Iterator[tuple[str, object, str]]:
    """(key, value, message) of every wrong value of every key that is refused."""
    for path in keys(model()):
        for wrong in WRONG:
            data = wrong
            for part in reversed(path):
                data = {part: data}
            try:
                model.parse("file.yaml", data)
            except ConfigError as problem:
                yield ".".join(path), wrong, str(problem)


def test_no_word_of_pydantics_in_any_message() -> None:
    pytest.importorskip("torch")
    from greentrain.config import Config

    for model in (Recipe, Config):
        found = list(messages(model))
        assert len({key for key, _, _ in found}) == len(list(keys(model())))
        for key, wrong, message in found:
            assert not PYDANTICS.search(message.replace(repr(wrong), "")), (key, message)
            assert f"`{key.partition('.')[0]}" in message, (key, message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"mask": {"kind": "onehot"}}, "`mask.kind` is 'onehot'. Give 'fraction', 'percent', 'one_hot' or 'index'."),
        ({"tile": {"size": "big"}}, "`tile.size` is 'big'. Give a whole number."),
        ({"split": {"val": 1.5}}, "`split.val` is 1.5. Give a number below 1."),
        ({"mask": {"classes": 3}}, "`mask.classes` is 3. Give a list or keys and values."),
        ({"bands": ["red"]}, "`bands.0` is 'red'. Give keys and values."),
        ({"bands": []}, "`bands` is []. Give a list of 1 or more."),
        ({"store": 5}, "`store` is 5. Give a path or a text."),
        ({"tile": {"siez": 64}}, "unknown key `tile.siez`. Did you mean `size`?"),
    ],
)
def test_what_was_found_and_what_to_give(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"file.yaml: {message}")):
        Recipe.parse("file.yaml", data)
