"""Rows of a pack in one forward pass, laid end to end, each blind to the others.

    input_ids   | a0 a1 a2 a3 | b0 b1 | c0 c1 c2 |     one line of T tokens, no padding
    position      0  1  2  3    0  1    0  1  2        restarts with every row
    attention     within a row only, causal

Rows that begin alike may have that beginning laid once (`data/prefix_tree.py`): a row is then a chain of segments, and
each segment attends to its history and to itself. The model's own layers run as they are; only the attention function
is ours (`packed_attention.py`). The segments reach it as a keyword that the model's forward hands down. Whether an
architecture really works this way is not guessed from its name: `supports_packing` tries it with a few tokens and
compares.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from postil.data.examples import IGNORED
from postil.data.packing import Pack
from postil.data.prefix_tree import Segment
from postil.models.attention_kernels import slow_reason
from postil.models.packed_attention import PACKED, CannotPackError, recording_windows

# Layers that attend in another way (linear attention, recurrence, chunks) are computed a row at a time.
_PACKABLE_LAYERS = {"full_attention", "sliding_attention"}
# Rotary embeddings of these kinds change with the longest position of the call.
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
# Two rows that begin alike, the second of three segments, and one that stands alone.
_PROBE = (
    Segment(0, 4),
    Segment(4, 3, 4, ((0, 4),)),
    Segment(7, 2, 4, ((0, 4),)),
    Segment(9, 3, 6, ((0, 4), (7, 9))),
    Segment(12, 5),
)
_PROBE_ROWS = ((0, 1), (0, 2, 3), (4,))
_PROBE_SEES = {0: (0, 1, 2, 3), 1: (1,), 2: (2, 3), 4: (4,)}
"""Which segments see a segment; the others are blind to it."""
_MOST_NOISE = 0.25  # of a dimension's spread; 0.04 over 24 random layers in bf16, and above 1 with rows mixed up
_MOST_LEAK = 0.02  # of what moves where tokens were changed


@dataclass(frozen=True, slots=True)
class PackTensors:
    """A pack as tensors.

    Args:
        input_ids: (T,) int64, the segments end to end.
        position_ids: (T,) int64, each token's position in its rows, from 0.
        segments: in order, covering all T; each a whole row where no beginning is shared.
        row_lengths: tokens of each row, shared or left out ones included.
        predicting: (N,) int64: the indices whose next token is learned, row after row; one that belongs to several rows
            is there once for each.
        targets: (N,) int64, those next tokens.
        trained_per_row: how many of the N belong to each row.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: tuple[Segment, ...]
    row_lengths: tuple[int, ...]
    predicting: Tensor
    targets: Tensor
    trained_per_row: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of the rows."""
        return sum(self.row_lengths)

    @property
    def num_laid_tokens(self) -> int:
        """T: tokens computed."""
        return len(self.input_ids)

    @property
    def num_trained_tokens(self) -> int:
        """N."""
        return sum(self.trained_per_row)

    def to(self, device: torch.device) -> "PackTensors":
        """The same on another device."""
        names = ("input_ids", "position_ids", "predicting", "targets")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


def pack_tensors(pack: Pack) -> PackTensors:
    """Lays the rows of a pack end to end.

    A label is learned from the index of the token before it in its row; the first token of a row has none and is never
    learned.
    """
    laid = pack.lay()
    predicting: list[int] = []
    targets: list[int] = []
    trained: list[int] = []
    for number, example in enumerate(pack.examples):
        indices, before = laid.indices(number), len(targets)
        for offset, label in enumerate(example.labels[1:]):
            if label != IGNORED:
                predicting.append(indices[offset])
                targets.append(label)
        trained.append(len(targets) - before)
    return PackTensors(
        input_ids=torch.tensor(laid.token_ids, dtype=torch.int64),
        position_ids=_positions(laid.segments),
        segments=laid.segments,
        row_lengths=tuple(len(example.input_ids) for example in pack.examples),
        predicting=torch.tensor(predicting, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        trained_per_row=tuple(trained),
    )


def _positions(segments: Sequence[Segment]) -> Tensor:
    ranges = [torch.arange(s.position, s.position + s.length) for s in segments]
    return torch.cat(ranges) if ranges else torch.zeros(0, dtype=torch.int64)


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside, whether or not PEFT is wrapped around it."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return cast(PreTrainedModel, inner)


def decoder_of(inner: PreTrainedModel) -> PreTrainedModel:
    """Everything below the output head."""
    return cast(PreTrainedModel, inner.get_decoder())


def packed_hidden_states(model: nn.Module, pack: PackTensors) -> Tensor:
    """Last hidden states (after the final norm) of every token of the pack.

    Call it inside `packed_attention(model)`; without it, or where the architecture cannot be packed, rows are computed
    one at a time, with the same result.

    Args:
        model: a causal LM, bare or inside PEFT.
        pack: on the model's device; with shared beginnings only where `shares_beginnings` allows them.

    Returns:
        (T, hidden), in the order of `pack.input_ids`.
    """
    decoder = decoder_of(causal_model(model))
    config = decoder.config
    if config._attn_implementation != PACKED:
        return _row_by_row(decoder, pack, {})
    limit = _rope_limit(config)
    if limit is not None and any(s.position + s.length > limit for s in pack.segments):
        return _row_by_row(decoder, pack, {"packed_segments": None})
    return _hidden(decoder, pack.input_ids, pack.position_ids, packed_segments=pack.segments)


def _hidden(decoder: nn.Module, input_ids: Tensor, position_ids: Tensor, **extra: Any) -> Tensor:
    output = decoder(input_ids=input_ids[None], position_ids=position_ids[None], use_cache=False, **extra)
    hidden: Tensor = output.last_hidden_state
    return hidden[0]


def _row_by_row(decoder: nn.Module, pack: PackTensors, extra: dict[str, Any]) -> Tensor:
    """Each segment by itself, which must be a whole row.

    Raises:
        CannotPackError: beginnings are shared.
    """
    if any(s.history for s in pack.segments):
        raise CannotPackError("rows that share their beginning cannot be computed one at a time")
    rows = []
    for s in pack.segments:
        alone = {name: (Segment(0, s.length),) for name in extra}
        rows.append(_hidden(decoder, pack.input_ids[s.start : s.end], pack.position_ids[s.start : s.end], **alone))
    return torch.cat(rows)


@contextmanager
def packed_attention(model: nn.Module) -> Iterator[bool]:
    """Within it the model attends by packed rows (and cannot generate); after it, as before.

    Yields:
        False where the architecture cannot be packed; the model is then left alone.
    """
    inner = causal_model(model)
    if not supports_packing(model):
        yield False
        return
    with _implementation(inner, PACKED):
        yield True


@contextmanager
def _implementation(inner: PreTrainedModel, name: str) -> Iterator[None]:
    before = inner.config._attn_implementation
    inner.set_attn_implementation(name)
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


_packable: "WeakKeyDictionary[PreTrainedModel, bool]" = WeakKeyDictionary()


def supports_packing(model: nn.Module) -> bool:
    """True when rows laid end to end give the hidden states that each gives alone; found out once, by trying."""
    inner = causal_model(model)
    if inner not in _packable:
        _packable[inner] = _declares_packable(inner) and _packs_exactly(model)
    return _packable[inner]


def _declares_packable(inner: PreTrainedModel) -> bool:
    config = decoder_of(inner).config
    layers = set(getattr(config, "layer_types", None) or ())
    chunked = getattr(config, "attention_chunk_size", None) is not None
    return inner._can_set_attn_implementation() and layers <= _PACKABLE_LAYERS and not chunked


def _packs_exactly(model: nn.Module) -> bool:
    """Compares short rows, two of which share their beginning, with the same rows alone under the model's attention."""
    inner = causal_model(model)
    decoder = decoder_of(inner)
    ids = _probe_ids(inner)
    positions = _positions(_PROBE).to(ids.device)
    seen: list[int | None] = []
    with torch.no_grad(), without_dropout(inner):
        rows = [torch.cat([torch.arange(_PROBE[n].start, _PROBE[n].end) for n in row]) for row in _PROBE_ROWS]
        expected = torch.cat([_hidden(decoder, ids[row], positions[row]) for row in rows])
        try:
            with _implementation(inner, PACKED), recording_windows(seen):
                found = _hidden(decoder, ids, positions, packed_segments=_PROBE)[torch.cat(rows)]
        except (CannotPackError, TypeError, ValueError):
            return False
    windows = _expected_windows(decoder.config, len(seen)) == sum(w is not None for w in seen)
    return windows and _is_same(found, expected) and _are_apart(inner, ids, positions)


def _is_same(found: Tensor, expected: Tensor) -> bool:
    """(T, hidden) both, to within rounding.

    In half precision a deep model makes of two ways to add the same numbers states that are some percent apart, so
    there each dimension is measured by how much it varies, and all of them together; whether rows see each other, which
    a wide margin could hide, `_are_apart` finds out exactly.
    """
    if expected.dtype == torch.float32:
        return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max())
    spread = expected.float().std(0).clamp_min(torch.finfo(expected.dtype).tiny)
    return float(((found - expected).float() / spread).square().mean().sqrt()) <= _MOST_NOISE


@torch.no_grad()
def _are_apart(inner: PreTrainedModel, ids: Tensor, positions: Tensor) -> bool:
    """True when other tokens in one row change nothing in the others.

    The same shapes are computed by the same kernels, so that "nothing" is exact, but for layers of experts, whose
    shapes depend on the tokens.
    """
    decoder = decoder_of(inner)
    most = int(ids.max()) + 1
    with without_dropout(inner), _implementation(inner, PACKED):
        before = _hidden(decoder, ids, positions, packed_segments=_PROBE).float()
        for changed, sees in _PROBE_SEES.items():
            others = ids.clone()
            own = slice(_PROBE[changed].start, _PROBE[changed].end)
            others[own] = (others[own] + 1) % most
            moved = (_hidden(decoder, others, positions, packed_segments=_PROBE).float() - before).abs().mean(1)
            blind = [moved[s.start : s.end] for number, s in enumerate(_PROBE) if number not in sees]
            if float(torch.cat(blind).max()) > _MOST_LEAK * float(moved[own].mean()):
                return False
    return True


def _probe_ids(inner: PreTrainedModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    most = min(1000, inner.config.get_text_config().vocab_size)
    ids = torch.randint(0, most, (_PROBE[-1].end,), generator=generator)
    return ids.to(next(inner.parameters()).device)


@contextmanager
def without_dropout(inner: nn.Module) -> Iterator[None]:
    """Within it every module computes as when answering; after it, as before."""
    training = [module for module in inner.modules() if module.training]
    inner.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _expected_windows(config: Any, num_layers: int) -> int:
    layers: Sequence[str] | None = getattr(config, "layer_types", None)
    if layers:
        return sum(kind == "sliding_attention" for kind in layers)
    return num_layers if getattr(config, "sliding_window", None) is not None else 0


def attends_by_length(model: nn.Module) -> bool:
    """True when rotary embeddings change with the longest position of the call: rows then differ with their company."""
    return _rope_limit(decoder_of(causal_model(model)).config) is not None


def slow_attention_reason(model: nn.Module) -> str | None:
    """Why packed rows attend by the reference and not by a kernel of the device; None where they do, or none exists."""
    inner = causal_model(model)
    config, device = inner.config.get_text_config(), next(inner.parameters()).device
    if device.type not in ("cpu", "cuda") or not supports_packing(model):
        return None
    heads = int(config.num_attention_heads)
    key_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return slow_reason(device, inner.dtype, heads, key_heads, size)


def shares_beginnings(model: nn.Module, longest_tokens: int) -> bool:
    """True when what rows begin with alike may be laid once.

    Args:
        longest_tokens: of the longest row; beyond a model's original length its rotary embeddings may depend on it.
    """
    limit = _rope_limit(decoder_of(causal_model(model)).config)
    return supports_packing(model) and (limit is None or longest_tokens <= limit)


def _rope_limit(config: Any) -> int | None:
    """Longest row up to which rotary embeddings do not depend on the other rows; None: they never do."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in _LENGTH_DEPENDENT_ROPE:
        return None
    original = rope.get("original_max_position_embeddings")
    return int(original or getattr(config, "original_max_position_embeddings", config.max_position_embeddings))
