"""The table of constants behind every recommended setting, each with its source, and the rules that use them.

Pure functions of numbers. What is measured for a base of the catalog goes before any rule: `MEASURED`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from postil.data.purposes import DataPurpose
from postil.models.memory import ModelShape

# How often every row is seen, by number of rows: small sets need more passes ("LoRA Without Regret", 2025).
EPOCHS_BY_ROWS = ((50, 12), (200, 8), (1000, 5), (3000, 3), (10000, 2), (math.inf, 1))
# Facts are wanted word for word; a manner of speaking is learned sooner and then copied.
EPOCH_FACTOR: dict[DataPurpose, float] = {"fact_qa": 1.5, "copywriting": 0.8, "role": 0.8, "multi_turn": 0.8}
MAX_EPOCHS_OF_FACTS = 15
MANY_DUPLICATES, DUPLICATES_FACTOR = 0.3, 0.6

# A run wants about this many steps; under MIN_STEPS too few updates are made to learn from.
TARGET_STEPS, MIN_STEPS = 200, 100
# LoRA takes large batches worse than full fine-tuning does ("LoRA Without Regret").
MIN_BATCH_ROWS, MAX_BATCH_ROWS = 4, 32

# A parameter holds about 2 bits, a learned token gives about 1 ("LoRA Without Regret"); 4 times as much is allowed for.
BITS_PER_PARAMETER, ROOM = 2, 4
USUAL_RANK, MAX_RANK, SMALL_RANK = 16, 64, 8
SMALL_RANK_KINDS: tuple[DataPurpose, ...] = ("classification", "role")
SMALL_RANK_BELOW_ROWS = 300
LARGE_RANK, LARGE_RANK_FROM_TOKENS = 32, 5_000_000
ALPHA = 32.0
"""The scale is alpha / rank: with alpha fixed, the best learning rate hardly depends on the rank."""
DROPOUT, DROPOUT_BELOW_ROWS, DROPOUT_FROM_EPOCHS = 0.05, 200, 8

# Optimum rate of LoRA by width: 5e-4 * (2000 / hidden)^exponent, calibrated at a batch of 128 rows and moving with its
# square root (tinker-cookbook, hyperparam_utils; "LoRA Without Regret", 2025). Families without a fit take 4e-4.
LR_AT_2000, LR_UNKNOWN_FAMILY, LR_BATCH_ROWS = 5e-4, 4e-4, 128
LR_EXPONENT = {"llama": 0.781, "mistral": 0.781, "qwen2": 0.0775, "qwen3": 0.0775}
LR_MIN, LR_MAX, MIN_BATCH_FACTOR = 5e-5, 1e-3, 0.25
FEW_STEPS_FACTOR, SMALL_MODEL_FACTOR = 1.5, 1.5
SMALL_MODEL_PARAMETERS = 1_500_000_000
MAX_WARMUP_STEPS, WARMUP_SHARE = 20, 0.05

MEASUREMENTS_PER_RUN = 4
TOKENS_PER_PACK = {"cpu": 4096, "mps": 4096, "cuda": 16384}
# Passes of the presets, against the recommended ones.
PRESET_FACTOR = {"quick": 0.5, "recommended": 1.0, "thorough": 1.5}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured for one base, in place of a rule; None leaves the rule.

    Args:
        min_epochs, min_epochs_below_rows: at least so many passes under so many rows.
        min_steps: more passes are made until a run has so many steps.
        manners, manners_from_rows: kinds that from so many rows on need fewer: `manners_epochs`, whatever the steps.
        epoch_factor: in place of EPOCH_FACTOR for a kind.
        rank, dropout: whatever the number of rows.
        source: the page with the measurement.
    """

    learning_rate: float | None = None
    min_epochs: int = 1
    min_epochs_below_rows: int = 0
    min_batch_rows: int = MIN_BATCH_ROWS
    min_steps: int = 1
    manners: tuple[DataPurpose, ...] = ()
    manners_from_rows: int = 0
    manners_epochs: int = 1
    epoch_factor: Mapping[DataPurpose, float] = field(default_factory=dict)
    rank: int | None = None
    dropout: float | None = None
    source: str = ""


MEASURED: dict[str, Measured] = {
    "starter": Measured(
        learning_rate=1e-3,
        min_epochs=14,
        min_epochs_below_rows=200,
        min_batch_rows=8,
        min_steps=MIN_STEPS,
        # Held-out loss of three role files: 14 passes 1.94, 2.58, 7.91; 6 passes 1.66, 2.23, 7.28. Of the first file's
        # trained questions 39 of 40 came back word for word after 14 passes, 18 after 6, and 36 after 9 (loss 1.79).
        # Texts of 22 goods, each asked for in three ways (the examples of the pages): 9 passes 0.90 in Chinese and 0.05
        # in English, with 0 and 7 of 13 right; 15 passes 0.44 and 0.02, with 0 and 10 right.
        manners=("role",),
        manners_from_rows=50,
        manners_epochs=9,
        # Of questions and answers (246 rows): 5 passes 3.43, 8 passes 3.86.
        epoch_factor={"fact_qa": 1.0},
        # Rank 8 in place of 16 on the role files: 1.71, 2.25 (6 passes) and 8.17 (14). Dropout 0.05: 1.63 for 1.66.
        rank=16,
        dropout=0.0,
        source="docs/results/first-run.md, docs/results/advice.md",
    )
}
NOTHING_MEASURED = Measured()


def measured_for(base_name: str) -> Measured:
    """What was measured for a base of the catalog; nothing for any other."""
    return MEASURED.get(base_name.casefold(), NOTHING_MEASURED)


def epoch_factor(kind: DataPurpose, measured: Measured) -> float:
    """What the number of passes is multiplied by for a kind of data."""
    return measured.epoch_factor.get(kind, EPOCH_FACTOR.get(kind, 1.0))


def floors(kind: DataPurpose, num_rows: int, measured: Measured) -> tuple[int, int]:
    """The least passes and the least steps for so many rows of a kind."""
    if kind in measured.manners and num_rows >= measured.manners_from_rows:
        epochs, steps = measured.manners_epochs, 1
    else:
        epochs, steps = measured.min_epochs, measured.min_steps
    return epochs if num_rows < measured.min_epochs_below_rows else 1, steps


def epochs_by_rows(num_rows: int) -> int:
    """Passes over so many rows, whatever they are for."""
    return next(epochs for rows, epochs in EPOCHS_BY_ROWS if num_rows < rows)


def choose_batch_rows(num_rows: int, epochs: float, measured: Measured = NOTHING_MEASURED) -> int:
    """Rows of a step: the power of two nearest to rows * epochs / TARGET_STEPS, between 4 and 32."""
    exact = max(1.0, num_rows * epochs / TARGET_STEPS)
    nearest = min(MAX_BATCH_ROWS, max(MIN_BATCH_ROWS, 1 << round(math.log2(exact))))
    return max(nearest, measured.min_batch_rows)


def parameters_per_rank(shape: ModelShape) -> int:
    """Trained numbers that one unit of rank brings, with an adapter on every linear layer."""
    return shape.layers * sum(i + o for i, o in shape.linears)


def needed_rank(supervised_tokens: int, per_rank: int) -> int:
    """The smallest power of two whose adapter has room for so many learned tokens, ROOM times over."""
    exact = ROOM * supervised_tokens / (BITS_PER_PARAMETER * per_rank)
    return 1 << max(0, math.ceil(math.log2(max(1.0, exact))))


def largest_rank(shape: ModelShape | None) -> int:
    """A rank that the smallest linear layer can still take."""
    return min(min(i, o) for i, o in shape.linears) if shape else MAX_RANK


def choose_learning_rate(
    family: str, hidden_size: int, num_parameters: int, *, rank: int, batch_rows: int, steps: int
) -> float:
    """Peak rate for LoRA with alpha 32, by width, family, batch and length of the run."""
    exponent = LR_EXPONENT.get(family)
    rate = LR_UNKNOWN_FAMILY if exponent is None else LR_AT_2000 * (2000 / hidden_size) ** exponent
    rate *= max(MIN_BATCH_FACTOR, math.sqrt(batch_rows / LR_BATCH_ROWS))
    rate *= FEW_STEPS_FACTOR if steps < MIN_STEPS else 1.0
    rate *= SMALL_MODEL_FACTOR if num_parameters < SMALL_MODEL_PARAMETERS and rank >= USUAL_RANK else 1.0
    return float(f"{min(LR_MAX, max(LR_MIN, rate)):.2g}")


def choose_warmup_steps(steps: int) -> int:
    """Steps until the peak rate is reached."""
    return min(MAX_WARMUP_STEPS, round(WARMUP_SHARE * steps))


def num_steps(num_rows: int, batch_rows: int, epochs: float) -> int:
    """Steps of a run, at least one; as `training/batches.py` counts them."""
    return max(1, math.ceil(round(epochs * math.ceil(num_rows / batch_rows), 6)))
