"""Fills in what the user left open with what the room `advice` recommends for the data and the base.

Nothing that the user has set is replaced; here a run's settings meet the recommendation, and nowhere else.
"""

import math
from typing import Any

from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.recommend import Recommendation, recommend
from postil.advice.rules import MEASUREMENTS_PER_RUN, TOKENS_PER_PACK
from postil.config import USUAL_ANSWER_TOKENS, RunConfig
from postil.data.truncation import round_up

_MOST_ANSWER_TOKENS = 512
# What is left open as None; the other recommended settings have a value of their own that is known before.
OPEN_SETTINGS = (
    "adapter.rank",
    "adapter.dropout",
    "training.epochs",
    "training.max_steps",
    "training.batch_rows",
    "training.learning_rate",
    "training.warmup_steps",
)


def recommend_for(config: RunConfig, data: DataFacts, base: BaseFacts) -> Recommendation:
    """The recommendation for a run, worked out from what its settings leave open."""
    return recommend(data, base, config.training.preset, _chosen(config))


def resolve_config(config: RunConfig, data: DataFacts, base: BaseFacts) -> RunConfig:
    """A copy in which every open training setting has a value."""
    recommended = recommend_for(config, data, base)
    changes = {name: value for name, value in recommended.changes().items() if name in OPEN_SETTINGS}
    return config.replace(
        {
            **changes,
            "data.kind": data.kind,
            "training.max_tokens_per_pack": config.training.max_tokens_per_pack or TOKENS_PER_PACK[base.device],
            "evaluation.evaluate_every": config.evaluation.evaluate_every
            or max(1, math.ceil(recommended.steps / MEASUREMENTS_PER_RUN)),
            "evaluation.max_new_tokens": config.evaluation.max_new_tokens or _room_for(data.answer_tokens),
        }
    )


def _room_for(answer_tokens: float) -> int:
    """Twice an average answer, so that nearly all come to their end; a model that goes on and on is cut off."""
    return min(_MOST_ANSWER_TOKENS, max(USUAL_ANSWER_TOKENS, round_up(math.ceil(2 * answer_tokens))))


def _chosen(config: RunConfig) -> dict[str, Any]:
    """What the user has set: the open settings that have a value, and the others that are not as they start."""
    values, initial = config.model_dump(), RunConfig().model_dump()
    chosen = {name: _at(values, name) for name in OPEN_SETTINGS}
    for name in ("adapter.alpha", "adapter.target_modules", "data.heldout_share", "data.max_length_tokens"):
        if _at(values, name) != _at(initial, name):
            chosen[name] = _at(values, name)
    return {**chosen, "training.accumulation": config.training.accumulation}


def _at(values: dict[str, Any], path: str) -> Any:
    part, _, name = path.partition(".")
    return values[part][name]
