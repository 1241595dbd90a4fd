"""The one decoding loop: token ids in, one more token of each row per step. Text is made of them in `generation.py`.

Legend: B rows of the batch, T tokens of a row, V entries of the vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from postil.errors import UnavailableError, UsageError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the likeliest token; 1 draws from the model's own distribution.
        top_p: draws only from the likeliest tokens that together reach this probability.
        max_new_tokens: longest answer, its end token included.
        seed: the same seed draws the same answer to the same prompt, alone or in a batch; None draws anew.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 200
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, fits in (
            ("temperature", 0 <= self.temperature <= 10),
            ("top_p", 0 < self.top_p <= 1),
            ("max_new_tokens", self.max_new_tokens >= 1),
        ):
            if not fits:
                raise UsageError("generation.bad_sampling", name=name, value=getattr(self, name))


GREEDY = Sampling()


def _goes_on(row: int, token: int) -> bool:
    return False


def decode(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Iterable[int],
    pad_id: int,
    sampling: Sampling = GREEDY,
    is_over: Callable[[int, int], bool] = _goes_on,
) -> Iterator[list[int | None]]:
    """Continues every prompt by one token per step until all have ended.

    Args:
        prompts: token ids, none empty; shorter ones are padded on the left.
        stop_ids: tokens that end a row; they are handed out before the row falls silent.
        is_over: asked with (row, token) for each new token; True ends that row (stop strings live above this loop).

    Yields:
        The new token of each prompt, in the order of `prompts`; None once a row has ended.

    Raises:
        UsageError: a prompt leaves no room in the model's context.
        UnavailableError: the model computes NaN, as fp16 can.
    """
    if not prompts:
        return
    stops, rows = frozenset(stop_ids), list(range(len(prompts)))  # rows: which prompts still run, by place in the batch
    room = context_length(model)
    left = [answer_budget(len(p), room, sampling.max_new_tokens) for p in prompts]
    draws = [make_draw(sampling.seed) for _ in prompts]
    with evaluating(model):
        batch = _Batch.of(model, prompts, pad_id)
        tokens = _choose(batch.prefill(model), sampling, draws)
        while True:
            step: list[int | None] = [None] * len(prompts)
            for row, token in zip(rows, tokens, strict=True):
                if left[row] > 0:
                    step[row], left[row] = token, left[row] - 1
                    if is_over(row, token) or token in stops:
                        left[row] = 0
            yield step
            running = [i for i, row in enumerate(rows) if left[row] > 0]
            if not running:
                return
            if batch.can_shrink and 2 * len(running) <= len(rows):  # copying the cache pays once half is silent
                batch.keep(running)
                rows, tokens = [rows[i] for i in running], [tokens[i] for i in running]
            tokens = _choose(batch.advance(model, tokens), sampling, [draws[row] for row in rows])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off within it; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass
class _Batch:
    """A left-padded batch and its key-value cache.

    Args:
        mask_BT: 1 where a key may be attended, 0 on padding.
        position_B: position of each row's next token; padding does not count.
        last_position: silent rows wait here, inside the model's context.
    """

    input_ids_BT: Tensor
    mask_BT: Tensor
    position_B: Tensor
    cache: DynamicCache
    last_position: int | None

    @classmethod
    def of(cls, model: nn.Module, prompts: Sequence[Sequence[int]], pad_id: int) -> "_Batch":
        width = max(map(len, prompts))
        device = _device(model)
        ids = torch.tensor([[pad_id] * (width - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        config: Any = model.config
        room = context_length(model)
        return cls(ids, mask, mask.sum(1), DynamicCache(config=config), room and room - 1)

    def prefill(self, model: nn.Module) -> Tensor:
        """Logits (batch, vocabulary) after the prompts."""
        positions = (self.mask_BT.cumsum(1) - 1).clamp(min=0)
        return self._forward(model, self.input_ids_BT, positions)

    def advance(self, model: nn.Module, tokens: Sequence[int]) -> Tensor:
        """Logits (batch, vocabulary) after one more token of each row."""
        ids = torch.tensor(tokens, device=self.mask_BT.device)[:, None]
        self.mask_BT = torch.cat([self.mask_BT, torch.ones_like(ids)], dim=1)
        logits = self._forward(model, ids, self.position_B[:, None])
        self.position_B = (self.position_B + 1).clamp(max=self.last_position)
        return logits

    @property
    def can_shrink(self) -> bool:
        """False for caches of recurrent layers, which cannot select rows."""
        return all(hasattr(layer, "batch_select_indices") for layer in self.cache.layers)

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets every row but these."""
        index = torch.tensor(rows, device=self.mask_BT.device)
        self.mask_BT, self.position_B = self.mask_BT[index], self.position_B[index]
        self.cache.batch_select_indices(index)

    @torch.no_grad()  # a decorator: a `with` around a yield would leak into the caller
    def _forward(self, model: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        output = model(
            input_ids=ids,
            attention_mask=self.mask_BT,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


def _choose(logits_BV: Tensor, sampling: Sampling, draws: Sequence[torch.Generator]) -> list[int]:
    if torch.isnan(logits_BV).any():
        raise UnavailableError("generation.not_a_number")
    if sampling.temperature == 0:
        return [int(i) for i in logits_BV.argmax(-1).tolist()]
    # One uniform number per row and step, drawn on the CPU: a row's answer depends neither on its neighbours in the
    # batch nor on the device's own random numbers.
    uniform_B1 = torch.stack([torch.rand(1, generator=g) for g in draws]).to(logits_BV.device)
    probability_BV, order_BV = (logits_BV / sampling.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    before_BV = probability_BV.cumsum(-1) - probability_BV
    probability_BV = probability_BV.masked_fill(before_BV >= sampling.top_p, 0.0)
    reached_BV = probability_BV.cumsum(-1)
    chosen_B1 = (reached_BV <= uniform_B1 * reached_BV[:, -1:]).sum(-1, keepdim=True)
    last_B1 = (probability_BV > 0).sum(-1, keepdim=True) - 1  # rounding must not step past the last candidate
    return [int(i) for i in order_BV.gather(1, chosen_B1.minimum(last_B1))[:, 0].tolist()]


def choose_tokens(
    logits_BV: Tensor, samplings: Sequence[Sampling], draws: Sequence[torch.Generator]
) -> list[int | UnavailableError]:
    """The next token of each row, every row by its own `Sampling`; its numbers come from its own generator alone.

    Returns:
        The token, or for a row whose logits are not numbers the error that ends it; other rows go on.
    """
    chosen: list[int | UnavailableError] = [UnavailableError("generation.not_a_number")] * len(samplings)
    is_broken = torch.isnan(logits_BV).any(-1).tolist()
    alike: dict[Sampling, list[int]] = {}
    for i, sampling in enumerate(samplings):
        if not is_broken[i]:
            alike.setdefault(replace(sampling, max_new_tokens=1, seed=None), []).append(i)
    for sampling, rows in alike.items():
        for i, token in zip(rows, _choose(logits_BV[rows], sampling, [draws[i] for i in rows]), strict=True):
            chosen[i] = token
    return chosen


def penalize(logits_V: Tensor, written: Mapping[int, int], presence: float, frequency: float) -> None:
    """Lowers, in place, the logits of tokens that the answer has already: `presence` once, `frequency` for each time.

    Args:
        written: how often each token stands in the answer.
    """
    if written and (presence or frequency):
        ids = torch.tensor(list(written), device=logits_V.device)
        counts = torch.tensor(list(written.values()), dtype=logits_V.dtype, device=logits_V.device)
        logits_V[ids] -= presence + frequency * counts


def make_draw(seed: int | None) -> torch.Generator:
    """Where one row's random numbers come from; None draws anew."""
    generator = torch.Generator("cpu")
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def context_length(model: nn.Module) -> int | None:
    """The longest text, prompt and answer, that the model was made for; None where its config does not say."""
    config: Any = model.config
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def answer_budget(prompt_tokens: int, room: int | None, wanted: int) -> int:
    """How many tokens the answer may have.

    Raises:
        UsageError: the prompt is empty or leaves no room in the context.
    """
    if prompt_tokens == 0:
        raise UsageError("generation.empty_prompt")
    if room is not None and prompt_tokens >= room:
        raise UsageError("generation.prompt_too_long", tokens=prompt_tokens, limit=room)
    return wanted if room is None else min(wanted, room - prompt_tokens)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
