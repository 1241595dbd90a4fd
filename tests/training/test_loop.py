"""The loop: it learns, reports, measures, keeps checkpoints, and refuses what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch

from postil.errors import DataError
from postil.events import AnyEvent, CheckpointSaved, StepDone, TrainingPlanned, Warned, ignore, never
from postil.models.adapter import add_adapter, trainable_parameters
from postil.training.batches import make_batches
from postil.training.checkpoint import checkpoint_steps
from postil.training.loop import TrainResult, train_adapter
from postil.training.state import forward_backward, load_state, make_state, optim_step, save_state
from tests.invariants.rows import ADAPTER, load_tiny, make_rows, settings

SMALL = {"vocab_size": 10240, "num_hidden_layers": 1}


def train(directory: Path, **changes: Any) -> TrainResult:
    arguments: dict[str, Any] = {
        "config": settings(),
        "run_dir": directory / "run",
        "data_hash": "data",
        "config_hash": "config",
        "report": ignore,
        "should_stop": never,
        "evaluate": None,
        "evaluate_every": 2,
        "resume": False,
    }
    model = changes.pop("model", None) or add_adapter(load_tiny(directory / "base", "qwen3", **SMALL), ADAPTER, 0)
    return train_adapter(model, make_rows(6), **(arguments | changes))


def test_it_learns_and_says_so(tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    measured: list[int] = []

    def evaluate(step: int) -> float:
        measured.append(step)
        return abs(step - 4)

    config = settings(epochs=4.0, learning_rate=5e-2, save_every=3, keep=1, log_every=3)
    result = train(tmp_path, config=config, report=events.append, evaluate=evaluate, evaluate_every=3)
    assert result.steps == 8 and result.trained_tokens < result.tokens
    assert measured == [3, 6, 8] and result.heldout_losses == {3: 1, 6: 2, 8: 4}
    planned = next(e for e in events if isinstance(e, TrainingPlanned))
    assert (planned.steps, planned.first_step, planned.batch_rows) == (8, 0, 4)
    steps = [e for e in events if isinstance(e, StepDone)]
    assert [e.step for e in steps] == [1, 3, 6, 8]
    assert steps[-1].loss < steps[0].loss - 0.1 and steps[-1].seconds_left == 0
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == [3, 6, 8]
    assert checkpoint_steps(tmp_path / "run") == [8, 3]  # the last one, and the best on held-out rows


def test_other_data_is_refused_and_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = train(tmp_path)
    again = train(tmp_path, resume=True)
    assert again == first
    with pytest.raises(DataError) as refused:
        train(tmp_path, resume=True, data_hash="other")
    assert refused.value.key == "training.other_data"


def test_a_loss_that_is_no_number_stops_with_the_rows_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    model = add_adapter(load_tiny(tmp_path / "base", "qwen3", **SMALL), ADAPTER, 0)

    def poison(event: AnyEvent) -> None:
        if isinstance(event, CheckpointSaved):
            next(iter(trainable_parameters(model).values())).data.fill_(float("nan"))

    with pytest.raises(DataError) as diverged:
        train(tmp_path, model=model, config=settings(save_every=1), report=poison)
    assert diverged.value.key == "training.diverged" and "rows.jsonl:" in diverged.value.message
    assert checkpoint_steps(tmp_path / "run") == [1]


def test_steps_win_over_epochs_and_accumulation_makes_larger_steps(tmp_path: Path) -> None:
    events: list[AnyEvent] = []
    config = settings(epochs=None, max_steps=2, batch_rows=2, accumulation=3)
    assert train(tmp_path, config=config, report=events.append).steps == 2
    planned = next(e for e in events if isinstance(e, TrainingPlanned))
    assert planned.batch_rows == 6 and planned.epochs == 2


def test_an_architecture_that_cannot_be_packed_is_named(tmp_path: Path) -> None:
    settings_of_base = {"n_embd": 64, "n_layer": 1, "n_head": 4, "rotary_dim": 16, "n_positions": 64}
    model = add_adapter(load_tiny(tmp_path / "base", "gptj", **settings_of_base), ADAPTER, 0)
    events: list[AnyEvent] = []
    train(tmp_path, model=model, config=settings(epochs=None, max_steps=1), report=events.append)
    warned = next(e for e in events if isinstance(e, Warned))
    assert warned.key == "training.not_packed" and "gptj" in warned.message


def test_attention_that_is_not_quick_is_said_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.models.packed.slow_reason", lambda *_: "no such operator")
    monkeypatch.setattr("postil.models.attention_kernels.slow_reason", lambda *_: "no such operator")
    events: list[AnyEvent] = []
    train(tmp_path, config=settings(epochs=None, max_steps=1), report=events.append)
    warned = next(e for e in events if isinstance(e, Warned))
    assert warned.key == "training.slow_attention" and "no such operator" in warned.message


def test_the_four_verbs(tmp_path: Path) -> None:
    model = add_adapter(load_tiny(tmp_path / "base", "llama", **SMALL), ADAPTER, 0)
    state = make_state(model, settings())
    batch = next(make_batches(make_rows(4), batch_rows=4, max_tokens_per_pack=50, seed=0, steps=1))
    before = forward_backward(state, batch)
    assert before.num_trained_tokens == batch.num_trained_tokens
    assert optim_step(state, 0.05) > 0 and state.step == 1
    save_state(state, tmp_path)
    after = forward_backward(state, batch)
    optim_step(state, 0.05)
    assert after.loss < before.loss and state.step == 2
    load_state(state, tmp_path)
    assert state.step == 1 and forward_backward(state, batch).loss == after.loss


def test_a_gradient_that_is_no_number_changes_nothing(tmp_path: Path) -> None:
    model = add_adapter(load_tiny(tmp_path / "base", "llama", **SMALL), ADAPTER, 0)
    state = make_state(model, settings())
    before = {name: p.detach().clone() for name, p in state.parameters.items()}
    for parameter in state.parameters.values():
        parameter.grad = torch.full_like(parameter, float("inf"))
    assert not torch.isfinite(torch.tensor(optim_step(state, 0.1)))
    assert state.step == 0 and all(torch.equal(before[n], p) for n, p in state.parameters.items())
