"""Settings: read, checked, explained, and refused with the nearest right name."""

from pathlib import Path

import pytest

from postil.config import RunConfig, check_config, load_config, parse_assignments, setting_paths
from postil.errors import MissingInputError, UsageError


def test_yaml_round_trip_loses_nothing(tmp_path: Path) -> None:
    config = RunConfig().replace({"training.epochs": 3, "adapter.target_modules": ("q_proj",), "data.file": "问答.csv"})
    (tmp_path / "run.yaml").write_text(config.to_yaml(), "utf-8")
    assert load_config(tmp_path / "run.yaml") == config


def test_every_setting_has_a_sentence() -> None:
    assert len(setting_paths()) > 40
    assert all(sentence.endswith(".") for sentence in setting_paths().values())


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().training.seed = 3  # type: ignore[misc]


def test_everything_wrong_is_named_at_once_with_the_nearest_right_name() -> None:
    wrong = {"training": {"learning_rte": 1e-3, "seed": -1}, "adapter": {"rank": "many"}}
    with pytest.raises(UsageError) as caught:
        check_config(wrong, "run.yaml")
    for part in ("run.yaml", "training.learning_rte", "training.learning_rate?", "training.seed", "adapter.rank"):
        assert part in caught.value.message


def test_assignments_take_short_names_and_yaml_values() -> None:
    given = ["epochs=3", "training.learning_rate=3e-4", "target_modules=[q_proj, v_proj]", "use_dora=true"]
    config = RunConfig().replace(parse_assignments(given))
    assert config.training.epochs == 3
    assert config.training.learning_rate == 3e-4
    assert config.adapter.target_modules == ("q_proj", "v_proj")
    assert config.adapter.use_dora


@pytest.mark.parametrize("text", ["epochs", "epoch=3", "training.nothing=1"])
def test_a_wrong_assignment_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_assignments([text])
    assert caught.value.exit_code == 64


def test_epochs_and_steps_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude"):
        RunConfig().replace({"training.epochs": 1, "training.max_steps": 5})


@pytest.mark.parametrize("text", ["- a\n- b\n", "training: [", "just words"])
def test_a_file_that_is_no_settings_is_a_usage_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=r"run\.yaml"):
        load_config(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
