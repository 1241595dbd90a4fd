"""Settings that the user left open."""

import pytest

from postil.config import RunConfig
from postil.recipes.defaults import BaseFacts, choose_batch_rows, choose_learning_rate, resolve_config

STARTER = BaseFacts("starter", "qwen3", 192, 5_411_008, "cpu")
QWEN_7B = BaseFacts("Qwen/Qwen2.5-7B-Instruct", "qwen2", 3584, 7_600_000_000, "cuda")


@pytest.mark.parametrize(("rows", "epochs"), [(40, 12), (150, 8), (800, 5), (2000, 3), (9000, 2), (50_000, 1)])
def test_passes_over_the_rows_go_down_with_their_number(rows: int, epochs: int) -> None:
    assert resolve_config(RunConfig(), rows, QWEN_7B).training.epochs == epochs


def test_the_starter_gets_enough_steps_however_few_rows() -> None:
    training = resolve_config(RunConfig(), 10, STARTER).training
    assert training.epochs is not None and training.batch_rows is not None
    assert training.epochs * -(-10 // training.batch_rows) >= 100


def test_batch_is_a_power_of_two_between_4_and_32() -> None:
    assert [choose_batch_rows(rows, 8) for rows in (10, 150, 300, 100_000)] == [4, 8, 16, 32]


def test_learning_rate_follows_the_formula_and_its_limits() -> None:
    # 5e-4 * (2000 / 3584) ** 0.0775 * sqrt(32 / 128), no other factor
    assert choose_learning_rate(QWEN_7B, 16, 32, 500) == pytest.approx(2.4e-4)
    tiny = BaseFacts("x", "llama", 64, 1_000_000, "cpu")
    assert choose_learning_rate(tiny, 16, 32, 50) == 1e-3


def test_what_the_user_set_stays() -> None:
    config = RunConfig().replace({"training.max_steps": 7, "training.learning_rate": 2e-4, "training.warmup_steps": 0})
    training = resolve_config(config, 500, QWEN_7B).training
    assert (training.max_steps, training.epochs, training.learning_rate, training.warmup_steps) == (7, None, 2e-4, 0)


def test_nothing_that_training_needs_stays_open() -> None:
    config = resolve_config(RunConfig(), 77, STARTER)
    open_settings = {name for name, value in config.training if value is None}
    assert open_settings == {"max_steps"}
    assert config.evaluation.evaluate_every is not None
