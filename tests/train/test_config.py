"""Settings: defaults, files, changes, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.errors import ConfigError
from greenschemas.yaml_file import commented_yaml
from greentrain.config import Config, differences, load_config
from greentrain.training.schedule import best_since, rate_share


def test_printed_settings_read_back_as_they_were(tmp_path: Path) -> None:
    config = load_config(None, ["model.preset=tiny", "augment.flip=0.25", "bands=[B2, B3]", "cache=1.5"])
    path = tmp_path / "c.yaml"
    path.write_text(commented_yaml(config), encoding="utf-8")
    assert load_config(path) == config
    assert yaml.safe_load(commented_yaml(Config())) == Config().model_dump(mode="json")


def test_every_setting_is_explained_unless_its_name_says_it_all() -> None:
    lines = commented_yaml(Config()).splitlines()
    bare = {
        line.split(":")[0].strip()
        for above, line in zip(["", *lines], lines, strict=False)
        if not line.strip().startswith("#") and not above.strip().startswith("#")
    }
    assert bare <= {
        "model",
        "augment",
        "activation",
        "label_smoothing",
        "precision",
        "plateau_divisor",
        "stop_on_collapse",
    }


def test_changes_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("epochs: 7\nseed: 3\nmodel: {preset: tiny}\n", encoding="utf-8")
    config = load_config(path, ["epochs=9", "model.d_state=4", "learning_rate=1e-4"])
    assert (config.epochs, config.seed, config.model.preset, config.model.d_state) == (9, 3, "tiny", 4)
    assert config.learning_rate == 1e-4
    assert config.model.overrides() == {"d_state": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("modle.preset=tiny", "unknown key `modle`. Did you mean `model`"),
        ("model.presett=tiny", "unknown key `model.presett`. Did you mean `preset`"),
        ("augment.flop=1", "Did you mean `flip`"),
        ("epochs=many", "`epochs` is 'many'"),
        ("epochs", "write it as key=value"),
        ("seed.x=1", "`seed.x`|`seed` is"),
        ("devices=0", "`devices` is 0. .* 1 or more"),
        ("cache=-1", "`cache` is -1. .* a number of GB"),
        ("cache=much", "`cache` is 'much'. .* a number of GB"),
        ("augment={mix_tiles: 0.5}", "needs target=fractions"),
    ],
)
def test_wrong_changes_are_refused_with_the_nearest_key(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        load_config(None, ["target=hard", change])


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "holds a list"), ("a: [", "not YAML"), ("seed: 2026-02-30", "not YAML"), ("1: 2", "unknown key `1`")],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        load_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"(?i)leave `\.x` out"):
        load_config(None, ["epochs=1", "epochs.x=1"])


def test_where_a_run_is_done_does_not_change_what_it_is() -> None:
    assert load_config(None, ["cache=none", "devices=2", "checkpoint_steps=5"]).hash() == Config().hash()
    assert load_config(None, ["seed=1"]).hash() != Config().hash()


def test_differences_name_nested_keys() -> None:
    a, b = Config(), load_config(None, ["model.preset=tiny", "seed=4", "learning_rate=0.002"])
    assert differences(a.model_dump(mode="json"), b.model_dump(mode="json")) == [
        "model.preset: detail -> tiny",
        "seed: 0 -> 4",
    ]


@given(st.integers(1, 500), st.floats(0, 0.5), st.floats(0, 1), st.sampled_from(["cosine", "constant", "plateau"]))
def test_the_rate_stays_above_zero_and_within_its_highest(steps: int, warmup: float, floor: float, kind: str) -> None:
    shares = [rate_share(s, steps, warmup=warmup, kind=kind, floor=floor) for s in range(steps)]  # type: ignore[arg-type]
    rising = round(warmup * steps)
    assert all(0 <= share <= 1 + 1e-12 for share in shares)
    assert all(share > 0 for share in shares[:rising])
    assert shares[:rising] == sorted(shares[:rising])
    assert shares[rising:] == sorted(shares[rising:], reverse=True)
    if kind == "cosine" and steps - rising > 1:
        assert shares[-1] == pytest.approx(floor)
        assert shares[rising] == pytest.approx(1)


def test_plateau_divides_after_so_many_validations_without_a_better_one() -> None:
    def share(*scores: float) -> float:
        return rate_share(50, 100, warmup=0, kind="plateau", floor=0.05, scores=scores, patience=2, divisor=3)

    assert share() == share(0.1, 0.2, 0.2) == 1
    assert share(0.2, 0.2, 0.1) == pytest.approx(1 / 3)
    assert share(0.2, 0.2, 0.1, 0.3, 0.3) == pytest.approx(1 / 3)
    assert share(*([0.2] * 20)) == 0.05


def test_the_best_validation_is_the_first_of_equals() -> None:
    assert best_since([]) == best_since([0.1, 0.2]) == 0
    assert best_since([0.1, 0.2, 0.2]) == 1


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ([], 2e-3),
        (["model.preset=base"], 1e-3),
        (["model.preset=base", "pretrained=w.pth"], 1e-4),
        (["model.preset=base", "learning_rate=0.5"], 0.5),
    ],
)
def test_a_rate_that_is_not_given_suits_the_net(changes: list[str], rate: float) -> None:
    assert load_config(None, changes).learning_rate == rate


@given(st.integers(1, 500), st.none() | st.integers(1, 20))
def test_the_last_epoch_is_validated_and_a_long_run_some_fifty_times(epochs: int, every: int | None) -> None:
    config = Config(epochs=epochs, validate_every=every)
    after = [epoch for epoch in range(1, epochs + 1) if config.validates_after(epoch)]
    assert after[-1] == epochs
    assert every is None or len(after) == -(-epochs // every)
    assert every is not None or min(epochs, 50) <= len(after) <= 100


@given(st.integers(1, 5000), st.integers(1, 16), st.integers(1, 4))
def test_a_small_store_gets_more_epochs_and_a_given_number_stands(tiles: int, batch: int, accumulate: int) -> None:
    config = Config(batch_size=batch, accumulate=accumulate)
    epochs, steps = config.settled(tiles).last_epoch, -(-tiles // (batch * accumulate))
    assert epochs >= 120 and epochs * steps >= 720
    assert epochs == 120 or (epochs - 1) * steps < 720  # no more than are needed
    assert config.settled(tiles).settled(1) == config.settled(tiles)
    assert Config(epochs=3).settled(tiles).epochs == 3
