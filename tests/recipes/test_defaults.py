"""Settings that the user left open meet the recommendation."""

from dataclasses import replace

import pytest

from postil.advice.facts import BaseFacts, DataFacts
from postil.config import RunConfig
from postil.models.catalog import STARTER_ENTRY
from postil.recipes.defaults import resolve_config
from tests.advice.facts import data_of

STARTER = BaseFacts.of_entry(STARTER_ENTRY)
QWEN_7B = BaseFacts("Qwen/Qwen2.5-7B-Instruct", "qwen2", 3584, 7_600_000_000, "cuda")


def resolved(data: DataFacts, base: BaseFacts, **settings: object) -> RunConfig:
    changes = {f"training.{name}": value for name, value in settings.items()}
    return resolve_config(RunConfig().replace(changes), data, base)


def test_what_the_user_set_stays() -> None:
    training = resolved(data_of(500), QWEN_7B, max_steps=7, learning_rate=2e-4, warmup_steps=0).training
    assert (training.max_steps, training.epochs, training.learning_rate, training.warmup_steps) == (7, None, 2e-4, 0)


def test_nothing_that_training_needs_stays_open() -> None:
    config = resolved(data_of(77), STARTER)
    assert {name for name, value in config.training if value is None} == {"max_steps"}
    assert None not in (config.adapter.rank, config.adapter.dropout, config.evaluation.evaluate_every, config.data.kind)


@pytest.mark.parametrize(("mean", "room"), [(5.0, 96), (30.0, 96), (48.0, 128), (90.0, 192), (900.0, 512)])
def test_answers_are_measured_with_room_to_end(mean: float, room: int) -> None:
    data = replace(data_of(200), answer_tokens=mean)
    assert resolve_config(RunConfig(), data, STARTER).evaluation.max_new_tokens == room
    chosen = RunConfig().replace({"evaluation.max_new_tokens": 7})
    assert resolve_config(chosen, data, STARTER).evaluation.max_new_tokens == 7


def test_resolved_settings_resolve_to_themselves() -> None:
    """A run that goes on reads them from run.yaml and must not get others."""
    once = resolved(data_of(77, kind="role"), STARTER)
    assert resolve_config(once, data_of(77, kind="role"), STARTER) == once


def test_settings_that_depend_on_a_chosen_one_follow_it() -> None:
    few, many = (resolved(data_of(2000), QWEN_7B, epochs=epochs).training.batch_rows for epochs in (1.0, 8.0))
    assert few is not None and many is not None and few < many


@pytest.mark.parametrize("preset", ["quick", "thorough"])
def test_presets_change_the_passes(preset: str) -> None:
    usual = resolved(data_of(800), QWEN_7B).training.epochs
    epochs = resolved(data_of(800), QWEN_7B, preset=preset).training.epochs
    assert usual is not None and epochs is not None and (epochs < usual) is (preset == "quick")
