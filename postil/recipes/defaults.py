"""Fills in what the user left open: a table of constants, each with where it comes from.

Pure functions of the number of rows and of the base's shape; nothing here loads a model.
"""

import math
from dataclasses import dataclass

from postil.config import RunConfig

# How often every row is seen, by number of rows: small sets need more passes.
EPOCHS_BY_ROWS = ((50, 12), (200, 8), (1000, 5), (3000, 3), (10000, 2), (math.inf, 1))
# A run wants about this many steps; under MIN_STEPS too few updates are made to learn from.
TARGET_STEPS, MIN_STEPS = 200, 100
MIN_BATCH_ROWS, MAX_BATCH_ROWS = 4, 32
# Optimum rate of LoRA by width: 5e-4 * (2000 / hidden)^exponent, calibrated at a batch of 128 rows and moving with its
# square root (tinker-cookbook, hyperparam_utils; "LoRA Without Regret", 2025). Families without a fit take 4e-4.
LR_AT_2000, LR_UNKNOWN_FAMILY, LR_BATCH_ROWS = 5e-4, 4e-4, 128
LR_EXPONENT = {"llama": 0.781, "mistral": 0.781, "qwen2": 0.0775, "qwen3": 0.0775}
LR_MIN, LR_MAX, MIN_BATCH_FACTOR = 5e-5, 1e-3, 0.25
SMALL_MODEL_PARAMETERS = 1_500_000_000
# The starter was measured, not extrapolated: see the table in docs/results/first-run.md.
STARTER_LR, STARTER_EPOCHS, STARTER_MIN_BATCH_ROWS = 1e-3, 14, 8
STARTER_EPOCHS_BELOW_ROWS = 200
MAX_WARMUP_STEPS, WARMUP_SHARE = 20, 0.05
MEASUREMENTS_PER_RUN = 4
TOKENS_PER_PACK = {"cpu": 4096, "mps": 4096, "cuda": 16384}


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What the defaults need to know of a base model."""

    name: str
    family: str
    hidden_size: int
    num_parameters: int
    device: str

    @property
    def is_starter(self) -> bool:
        """True for the toy inside the package."""
        return self.name == "starter"


def choose_epochs(num_rows: int, batch_rows: int | None, base: BaseFacts) -> int:
    """Passes over the rows; more of them where the run would have under MIN_STEPS steps on the starter."""
    epochs = next(e for rows, e in EPOCHS_BY_ROWS if num_rows < rows)
    if base.is_starter:
        if num_rows < STARTER_EPOCHS_BELOW_ROWS:
            epochs = max(epochs, STARTER_EPOCHS)
        steps_per_epoch = math.ceil(num_rows / (batch_rows or STARTER_MIN_BATCH_ROWS))
        epochs = max(epochs, math.ceil(MIN_STEPS / steps_per_epoch))
    return epochs


def choose_batch_rows(num_rows: int, epochs: float) -> int:
    """Rows of a step: the power of two nearest to rows * epochs / TARGET_STEPS, between 4 and 32."""
    exact = max(1.0, num_rows * epochs / TARGET_STEPS)
    return min(MAX_BATCH_ROWS, max(MIN_BATCH_ROWS, 1 << round(math.log2(exact))))


def choose_learning_rate(base: BaseFacts, rank: int, batch_rows: int, steps: int) -> float:
    """Peak rate for LoRA with alpha 32, by width, family, batch and length of the run."""
    if base.is_starter:
        return STARTER_LR
    exponent = LR_EXPONENT.get(base.family)
    rate = LR_UNKNOWN_FAMILY if exponent is None else LR_AT_2000 * (2000 / base.hidden_size) ** exponent
    rate *= max(MIN_BATCH_FACTOR, math.sqrt(batch_rows / LR_BATCH_ROWS))
    rate *= 1.5 if steps < MIN_STEPS else 1.0
    rate *= 1.5 if base.num_parameters < SMALL_MODEL_PARAMETERS and rank >= 16 else 1.0
    return float(f"{min(LR_MAX, max(LR_MIN, rate)):.2g}")


def resolve_config(config: RunConfig, num_rows: int, base: BaseFacts) -> RunConfig:
    """A copy in which every open training setting has a value.

    Args:
        num_rows: rows that will be trained on, at least 1.
    """
    training = config.training
    batch_rows = training.batch_rows
    epochs = training.epochs
    if epochs is None and training.max_steps is None:
        epochs = float(choose_epochs(num_rows, batch_rows, base))
    if batch_rows is None:
        batch_rows = choose_batch_rows(num_rows, epochs) if epochs is not None else MIN_BATCH_ROWS
        batch_rows = max(batch_rows, STARTER_MIN_BATCH_ROWS) if base.is_starter else batch_rows
    rows_per_step = batch_rows * training.accumulation
    steps = training.max_steps or max(1, math.ceil((epochs or 1) * math.ceil(num_rows / rows_per_step)))
    warmup = training.warmup_steps
    return config.replace(
        {
            "training.epochs": epochs,
            "training.batch_rows": batch_rows,
            "training.learning_rate": training.learning_rate
            or choose_learning_rate(base, config.adapter.rank, rows_per_step, steps),
            "training.warmup_steps": min(MAX_WARMUP_STEPS, round(WARMUP_SHARE * steps)) if warmup is None else warmup,
            "training.max_tokens_per_pack": training.max_tokens_per_pack or TOKENS_PER_PACK[base.device],
            "evaluation.evaluate_every": config.evaluation.evaluate_every
            or max(1, math.ceil(steps / MEASUREMENTS_PER_RUN)),
        }
    )
