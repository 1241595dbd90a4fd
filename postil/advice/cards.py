"""Graphics cards that are not here, and how fast a base may train on them: worked out, never measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from postil.advice.counting import reading_flop, training_flop
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.rates import Range, Rates
from postil.errors import UnavailableError

LAUNCH_SECONDS = 20.0
"""Starting Python, torch and CUDA, before any weights."""
LOADING_BYTES_PER_SECOND = Range(0.5e9, 3e9)
"""From a disk that has to read them to one that has them in memory."""
CHECKPOINT_SECONDS = 1.0
MEMORY_BANDWIDTH_SHARE = Range(0.2, 0.6)


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card.

    Args:
        teraflops: dense bf16 with fp32 sums, as its maker states.
        memory_bytes: as sold.
        bytes_per_second: between the card and its memory.
        efficiency: lowest and highest share of that rate that training with LoRA has reached on such cards; both are
            assumptions until this project has measured there (anchors: 12.5k and 14.9k tokens a second for an 8B base
            on an H100 are 0.41 and 0.49).
    """

    name: str
    teraflops: float
    memory_bytes: int
    bytes_per_second: float
    efficiency: tuple[float, float]


CARDS: Mapping[str, Card] = {
    "4090": Card("RTX 4090", 165.2, 24_000_000_000, 1.0e12, (0.30, 0.60)),
    "a100": Card("A100 80 GB", 312.0, 80_000_000_000, 2.0e12, (0.30, 0.55)),
    "h200": Card("H200", 989.0, 141_000_000_000, 4.8e12, (0.20, 0.50)),
}


def rates_of_card(card: Card, base: BaseFacts, data: DataFacts, rank: int) -> Rates:
    """Rates on hardware that is not here, from the count of operations; marked as not measured.

    Raises:
        UnavailableError: the base's shape is not known, so nothing can be counted.
    """
    if base.shape is None:
        raise UnavailableError("advice.no_shape", base=base.name)
    row_tokens = data.tokens / max(1, data.rows)
    per_token = training_flop(base.shape, data.tokens, data.supervised_tokens, rank, row_tokens) / max(1, data.tokens)
    reading = reading_flop(base.shape, data.tokens, data.supervised_tokens) / max(1, data.tokens)
    low, high = (share * card.teraflops * 1e12 for share in card.efficiency)
    weight_bytes = base.num_parameters * 2  # bf16 there, whatever this machine computes in
    loading = Range(weight_bytes / LOADING_BYTES_PER_SECOND.high, weight_bytes / LOADING_BYTES_PER_SECOND.low)
    return Rates(
        hardware=card.name,
        launch_seconds=LAUNCH_SECONDS,
        startup_seconds=loading.middle,
        step_tokens_per_second=Range(low / per_token, high / per_token),
        first_step_seconds=5.0,
        reading_tokens_per_second=Range(low / reading, high / reading),
        decode_seconds=Range(
            weight_bytes / (card.bytes_per_second * MEMORY_BANDWIDTH_SHARE.high),
            weight_bytes / (card.bytes_per_second * MEMORY_BANDWIDTH_SHARE.low) + 0.03,
        ),
        save_seconds=CHECKPOINT_SECONDS,
        spread=0.3,
        is_measured=False,
    )
