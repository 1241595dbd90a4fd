"""The loop: steps in order, measured, logged, saved, stopped when asked. A step itself is in `training/state.py`."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from postil.config import TrainingConfig
from postil.data.examples import Example
from postil.errors import DataError, Stopped
from postil.events import CheckpointSaved, Pace, Report, ShouldStop, StepDone, TrainingPlanned, Warned, ignore
from postil.language import say
from postil.models.adapter import adapter_dropout, has_dropout
from postil.models.devices import peak_memory_bytes
from postil.models.loss import output_head
from postil.models.packed import (
    causal_model,
    packed_attention,
    shares_beginnings,
    slow_attention_reason,
    supports_packing,
)
from postil.training.allocator import keep_freed_memory
from postil.training.batches import StepBatch, make_batches, num_steps, steps_per_epoch
from postil.training.checkpoint import (
    best_step,
    check_same_run,
    checkpoint_steps,
    find_checkpoint,
    keep_checkpoints,
    save_checkpoint,
)
from postil.training.kernels import keep_few_kernels
from postil.training.optimizer import learning_rate_at
from postil.training.recovery import Room, first_room, forward_backward_within
from postil.training.state import (
    StepLoss,
    TrainingState,
    load_state,
    make_state,
    optim_step,
    save_state,
)
from postil.training.workers import ALONE, Workers

SIGINT = 2
PLACES_NAMED = 3  # rows listed when the loss is no number any more
FIRST_PACES = 5  # steps whose time is told one by one, for the first estimate of the time left
PACE_SECONDS = 1.0
TRAINING_PER_SAVING = 20  # between two checkpoints that only time asks for, training takes this many times as long
Evaluate = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a finished run hands on.

    Args:
        train_loss: mean over the steps of the last epoch, in nats per trained token.
        tokens, trained_tokens, seconds: of the whole run, earlier attempts included.
        heldout_losses: by step, in order.
    """

    steps: int
    train_loss: float
    seconds: float
    tokens: int
    trained_tokens: int
    heldout_losses: dict[int, float]


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from the first step to the last."""

    config: TrainingConfig
    steps: int
    first_step: int
    run_dir: Path
    data_hash: str
    config_hash: str
    report: Report
    evaluate: Evaluate | None
    evaluate_every: int
    save_seconds: float
    workers: Workers


@dataclass(slots=True)
class _Clock:
    """What has been told of the time so far; nobody can set this clock.

    Args:
        started_at: when the steps that count began: all but the first.
        told_at: when the last event of the steps was sent.
        untold_seconds: time of the steps since then, without measuring and saving.
        saved_at, saving_seconds: when the last checkpoint was complete, and how long it took.
    """

    started_at: float = field(default_factory=time.perf_counter)
    told_at: float = field(default_factory=time.perf_counter)
    untold_seconds: float = 0.0
    saved_at: float = field(default_factory=time.perf_counter)
    saving_seconds: float = 0.0

    def tell(self) -> float:
        """The untold seconds, which are told with this."""
        seconds, self.untold_seconds, self.told_at = self.untold_seconds, 0.0, time.perf_counter()
        return seconds


def train_adapter(
    model: nn.Module,
    examples: Sequence[Example],
    *,
    config: TrainingConfig,
    run_dir: Path,
    data_hash: str,
    config_hash: str,
    report: Report,
    should_stop: ShouldStop,
    evaluate: Evaluate | None,
    evaluate_every: int,
    resume: bool,
    save_seconds: float = math.inf,
    workers: Workers = ALONE,
) -> TrainResult:
    """Trains the adapter of `model` in place.

    Args:
        model: a base with an adapter (`add_adapter`).
        examples: rows to learn, at least one.
        config: resolved; of `epochs` and `max_steps` at least one is set, `max_steps` wins.
        run_dir: checkpoints go under it.
        data_hash, config_hash: a run only goes on with the same ones.
        should_stop: asked after every step; the step in hand is finished and saved.
        evaluate: measures the held-out loss after the given step; called every `evaluate_every` steps and at the end.
        resume: go on from the newest whole checkpoint, or from the start where there is none.
        save_seconds: a checkpoint is written at least this often too, as long as that takes a twentieth of the time at
            most; when one is written decides no weight.
        workers: who trains with us; then `run_dir`, `report`, `should_stop`, `evaluate` and `resume` are heeded on the
            first only.

    Raises:
        Stopped: after saving a checkpoint; `by_signal` is SIGINT.
        DataError: the loss is no number any more, or the checkpoint belongs to other data or settings.
        UnavailableError: the model computes its logits in a way that is not known.
        CannotWriteError: a checkpoint cannot be written.
    """
    rows = config.batch_rows * config.accumulation  # type: ignore[operator]
    keep_freed_memory()
    keep_few_kernels(rows)
    output_head(model)  # a head that is not known is refused before any work
    state = make_state(model, config)
    checkpoint = find_checkpoint(run_dir, report) if resume and workers.is_first else None
    if checkpoint is not None:
        check_same_run(checkpoint, data_hash=data_hash, config_hash=config_hash)
        load_state(state, checkpoint.path)
    workers.share_state(state)
    steps = config.max_steps or num_steps(len(examples), rows, config.epochs)  # type: ignore[arg-type]
    run = _Run(
        config=config,
        steps=steps,
        first_step=state.step,
        run_dir=run_dir,
        data_hash=data_hash,
        config_hash=config_hash,
        report=report if workers.is_first else ignore,
        evaluate=evaluate if workers.is_first else None,
        evaluate_every=evaluate_every,
        save_seconds=save_seconds,
        workers=workers,
    )
    should_stop = workers.asked_together(should_stop)
    _announce(run, model, rows, len(examples))
    batches = make_batches(
        examples,
        batch_rows=rows,
        max_tokens_per_pack=config.max_tokens_per_pack,  # type: ignore[arg-type]
        seed=config.seed,
        steps=steps,
        first_step=state.step,
        # with dropout, rows that begin alike would drop the same inputs there
        shares=not has_dropout(model) and shares_beginnings(model, max(len(e.input_ids) for e in examples)),
        worker=workers.rank,
        num_workers=workers.size,
    )
    clock = _Clock()
    room = first_room(model, config.max_tokens_per_pack, max(len(e.input_ids) for e in examples))  # type: ignore[arg-type]
    if room.recomputes:
        _warn(run, "training.recomputes_to_fit")
    _measure_heldout(run, state)  # a run that was stopped before a measurement catches up
    for batch in batches:
        _train_step(run, state, batch, room, clock)
        stopping = state.step < steps and should_stop()
        if not stopping:
            _measure_heldout(run, state)
        is_due = stopping or state.step % config.save_every == 0 or state.step == steps or _is_save_due(run, clock)
        if is_due and workers.is_first:
            _save(run, state, clock)
        if stopping:
            raise Stopped("training.stopped", by_signal=SIGINT, step=state.step, steps=steps)
    return _result(state, steps_per_epoch(len(examples), rows))


def _announce(run: _Run, model: nn.Module, rows: int, num_examples: int) -> None:
    run.report(
        TrainingPlanned(
            steps=run.steps,
            first_step=run.first_step,
            epochs=run.config.epochs or run.steps / steps_per_epoch(num_examples, rows),
            batch_rows=rows,
            learning_rate=run.config.learning_rate,  # type: ignore[arg-type]
            evaluate_every=run.evaluate_every if run.evaluate is not None else 0,
            save_every=run.config.save_every,
        )
    )
    if not supports_packing(model):
        _warn(run, "training.not_packed", family=causal_model(model).config.model_type)
    elif (reason := slow_attention_reason(model)) is not None:
        _warn(run, "training.slow_attention", device=next(model.parameters()).device.type, reason=reason)


def _warn(run: _Run, key: str, **values: str) -> None:
    run.report(Warned(key=key, message=say(key, **values), values=values))


def _train_step(run: _Run, state: TrainingState, batch: StepBatch, room: Room, clock: _Clock) -> None:
    started = time.perf_counter()
    config = run.config
    with adapter_dropout(state.model), packed_attention(state.model):
        found = forward_backward_within(state, batch, room, run.report, _seed_of(run, batch.step))
    found = run.workers.sum_step(state.parameters, found)
    rate = learning_rate_at(batch.step, run.steps, config.learning_rate, config.warmup_steps, config.schedule)  # type: ignore[arg-type]
    norm = optim_step(state, rate) if math.isfinite(found.loss) else math.nan
    if not math.isfinite(norm):
        places = ", ".join(str(place) for place in batch.places[:PLACES_NAMED])
        raise DataError("training.diverged", step=batch.step, rate=rate, places=places)
    seconds = time.perf_counter() - started
    state.losses.append(found.loss)
    state.tokens += found.num_tokens
    state.trained_tokens += found.num_trained_tokens
    state.seconds += seconds
    clock.untold_seconds += seconds
    steps_done = state.step - run.first_step
    if batch.step % config.log_every == 0 or batch.step in (run.first_step + 1, run.steps):
        _log(run, state, found, rate, norm, seconds, clock)
    elif steps_done <= FIRST_PACES or time.perf_counter() - clock.told_at >= PACE_SECONDS:
        run.report(Pace(step=state.step, steps=run.steps, seconds=clock.tell()))
    if steps_done == 1:  # warm-up says nothing about the steps to come
        clock.started_at = time.perf_counter()


def _seed_of(run: _Run, step: int) -> int:
    """What is random in a step hangs on nothing that was before it, so a run that goes on drops the same inputs."""
    return int(np.random.SeedSequence([run.config.seed, step, run.workers.rank]).generate_state(1)[0])


def _log(
    run: _Run, state: TrainingState, found: StepLoss, rate: float, norm: float, seconds: float, clock: _Clock
) -> None:
    steps_done = state.step - run.first_step
    elapsed = time.perf_counter() - clock.started_at
    run.report(
        StepDone(
            step=state.step,
            steps=run.steps,
            loss=found.loss,
            learning_rate=rate,
            grad_norm=norm,
            tokens=found.num_tokens,
            trained_tokens=found.num_trained_tokens,
            tokens_per_second=found.num_tokens / max(seconds, 1e-9),
            seconds_left=elapsed / max(1, steps_done - 1) * (run.steps - state.step),
            seconds=clock.tell(),
        )
    )


def _measure_heldout(run: _Run, state: TrainingState) -> None:
    step = state.step
    due = step > 0 and (step % run.evaluate_every == 0 or step == run.steps)
    if run.evaluate is not None and due and step not in state.heldout_losses:
        torch.manual_seed(_seed_of(run, step))
        state.heldout_losses[step] = run.evaluate(step)


def _is_save_due(run: _Run, clock: _Clock) -> bool:
    since = time.perf_counter() - clock.saved_at
    return since >= max(run.save_seconds, TRAINING_PER_SAVING * clock.saving_seconds)


def _save(run: _Run, state: TrainingState, clock: _Clock) -> None:
    started = time.perf_counter()
    checkpoint = save_checkpoint(
        run.run_dir,
        state.step,
        lambda folder: save_state(state, folder),
        data_hash=run.data_hash,
        config_hash=run.config_hash,
    )
    best = best_step(state.heldout_losses, checkpoint_steps(run.run_dir))
    keep_checkpoints(run.run_dir, run.config.keep, best, newest_step=state.step)
    clock.saved_at = time.perf_counter()
    clock.saving_seconds = clock.saved_at - started
    run.report(
        CheckpointSaved(
            step=state.step,
            path=str(checkpoint.path),
            seconds=clock.saving_seconds,
            peak_memory_bytes=peak_memory_bytes(next(iter(state.parameters.values())).device.type),
        )
    )


def _result(state: TrainingState, last_steps: int) -> TrainResult:
    last_epoch = state.losses[-last_steps:] or [math.nan]  # of a worker that joined after the last step
    return TrainResult(
        steps=state.step,
        train_loss=math.fsum(last_epoch) / len(last_epoch),
        seconds=state.seconds,
        tokens=state.tokens,
        trained_tokens=state.trained_tokens,
        heldout_losses=dict(sorted(state.heldout_losses.items())),
    )
