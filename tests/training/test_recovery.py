"""Out of memory: less at once, the same step, said with an event; and an error where nothing is left to do."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from postil.events import AnyEvent, Warned
from postil.models.packed import causal_model, packed_attention
from postil.operating_system import is_out_of_memory
from postil.training import recovery
from postil.training.batches import StepBatch, make_batches
from postil.training.recovery import Room, first_room, forward_backward_within
from postil.training.state import StepLoss, TrainingState, forward_backward, make_state
from tests.invariants.rows import cosine, gradients, load_tiny, make_kindred_rows, settings, with_adapter

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


def batch_of(max_tokens: int = 10_000) -> StepBatch:
    rows = make_kindred_rows()
    return next(make_batches(rows, batch_rows=10, max_tokens_per_pack=max_tokens, seed=0, steps=1, shares=True))


@pytest.fixture
def state(tmp_path: Path) -> TrainingState:
    return make_state(with_adapter(load_tiny(tmp_path, "qwen3")), settings())


def limit_memory(monkeypatch: pytest.MonkeyPatch, tokens: int, error: Exception) -> list[int]:
    """From now on packs of more tokens end in an error in the middle of a step; returns what was tried."""
    tried: list[int] = []

    def attempt(state: TrainingState, batch: StepBatch) -> StepLoss:
        tried.append(max(p.num_laid_tokens for p in batch.packs))
        found = forward_backward(state, batch)  # leaves gradients behind, as a step that breaks later does
        if tried[-1] > tokens:
            raise error
        return found

    monkeypatch.setattr(recovery, "forward_backward", attempt)
    return tried


@pytest.mark.parametrize(
    "error", [RuntimeError(CPU_WORDS), torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]
)
def test_the_step_is_the_same_in_smaller_packs(
    state: TrainingState, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    events: list[Any] = []
    room = Room(10_000)
    with packed_attention(state.model):
        expected = forward_backward(state, batch_of())
        whole = gradients(state.model)
        tried = limit_memory(monkeypatch, 90, error)
        found = forward_backward_within(state, batch_of(), room, events.append)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.num_trained_tokens == expected.num_trained_tokens
    assert cosine(gradients(state.model), whole) > 0.99999
    assert tried[0] > 90 >= tried[-1] and tried == sorted(tried, reverse=True)
    assert room.max_tokens <= 90 and not room.recomputes
    assert {e.key for e in events} == {"training.smaller_packs"} and len(events) == len(tried) - 1
    assert events[-1].values == {"step": 1, "tokens": room.max_tokens}


def test_the_room_stays_small(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(10_000)
    events: list[AnyEvent] = []
    tried = limit_memory(monkeypatch, 90, MemoryError())
    with packed_attention(state.model):
        forward_backward_within(state, batch_of(), room, events.append)
        num_tried, num_events = len(tried), len(events)
        forward_backward_within(state, batch_of(), room, events.append)
    assert len(tried) == num_tried + 1 and len(events) == num_events


def test_then_layers_are_recomputed_and_then_it_ends(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(10_000)
    events: list[Any] = []
    limit_memory(monkeypatch, 0, MemoryError("nothing fits"))
    with packed_attention(state.model), pytest.raises(MemoryError, match="nothing fits"):
        forward_backward_within(state, batch_of(), room, events.append)
    assert room.recomputes
    keys = [e.key for e in events if isinstance(e, Warned)]
    assert keys == ["training.smaller_packs"] * (len(keys) - 1) + ["training.recomputes"] and len(keys) > 2


def test_nothing_of_the_broken_attempt_is_held_while_the_next_one_runs(
    state: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory runs out between gate and up, whose results are made together and of which one still waits."""
    first, second, *_ = causal_model(state.model).get_decoder().layers
    held: list[Any] = []
    alive: list[bool] = []

    class Breaking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not held and x.grad_fn is not None:  # and not while packing is tried
                held.append(weakref.ref(x.grad_fn))
                raise MemoryError
            return nn.functional.silu(x)

    class Watching(nn.Module):  # in a layer below, which the next attempt comes to first
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if held:
                alive.append(held[0]() is not None)
            return nn.functional.silu(x)

    monkeypatch.setattr(second.mlp, "act_fn", Breaking())
    monkeypatch.setattr(first.mlp, "act_fn", Watching())
    with packed_attention(state.model):
        forward_backward_within(state, batch_of(), Room(10_000), lambda _: None)
    assert alive and not any(alive)


def test_other_errors_go_on_their_way(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    room, events = Room(10_000), []
    limit_memory(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with packed_attention(state.model), pytest.raises(RuntimeError, match="mat1"):
        forward_backward_within(state, batch_of(), room, events.append)
    assert room == Room(10_000) and not events


def test_layers_are_recomputed_from_the_start_where_the_longest_row_does_not_fit(
    state: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first_room(state.model, 4096, 48) == Room(4096)
    monkeypatch.setattr(recovery, "available_memory_bytes", lambda: 1000)
    assert first_room(state.model, 4096, 48) == Room(4096, recomputes=True)


def test_torch_s_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("other"))
    assert not is_out_of_memory(ValueError("not enough memory"))
