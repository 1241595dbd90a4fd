"""What is published about the settings: the schema and the example."""

from pathlib import Path

from postil.config import load_config
from tools.config_schema import PUBLISHED, render_schema

EXAMPLE = Path(__file__).parents[1] / "examples" / "source_recipe.yaml"


def test_published_schema_is_current() -> None:
    assert PUBLISHED.read_text("utf-8") == render_schema(), "run `make schema`"


def test_source_recipe_holds_every_setting_of_the_source() -> None:
    config = load_config(EXAMPLE)
    assert config.data.max_length_tokens == 256
    assert (config.model.dtype, config.model.offline) == ("bf16", True)
    adapter = config.adapter
    assert (adapter.rank, adapter.alpha, adapter.dropout, adapter.bias) == (8, 16, 0.05, "none")
    assert set(adapter.target_modules) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    training = config.training
    assert (training.batch_rows, training.accumulation, training.learning_rate) == (2, 1, 3e-4)
    assert (training.epochs, training.save_every, training.keep, training.log_every) == (8, 100, 3, 10)
    assert training.seed == 42
    assert (config.output.force, config.output.trackers) == (True, ())


def test_source_recipe_says_what_is_refused() -> None:
    text = EXAMPLE.read_text("utf-8")
    for refused in ("padding=", "truncation=", "the prompt trained", "never learns to stop", "trust_remote_code"):
        assert refused in text
