"""Postil's own loop, called as a run calls it: `train_adapter` on all rows, with what the recipe chooses by default.

Steps, losses and seconds are those of its events. The order of the rows is its own; the other arms follow it.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.arms.recording import Figures, Task, run_arm
from benchmarks.workload import Row, read_rows
from postil.config import RunConfig, TrainingConfig
from postil.data.examples import Example
from postil.events import Event, StepDone, Warned, never
from postil.problems import Place

if TYPE_CHECKING:
    from peft import PeftModel

    from postil.training.workers import Workers

ROWS = "rows"
RECOMPUTED = "postil_recomputed"
"""The arm whose layers are computed again on the way back, to compare memory with programs that do that always."""


def examples_of(rows: list[Row]) -> list[Example]:
    """Rows as the loop takes them; the place's row is their number from 1."""
    return [Example(Place(ROWS, n), tuple(r.input_ids), tuple(r.labels)) for n, r in enumerate(rows, start=1)]


def run_config(task: Task) -> RunConfig:
    """A run's settings; what is not named is the default."""
    return RunConfig().replace(
        {
            "model.base": task.model_dir,
            "model.dtype": task.dtype,
            "model.device": task.device,
            "adapter.rank": task.rank,
            "adapter.alpha": 2 * task.rank,
            "adapter.dropout": 0.0,
            "training.batch_rows": task.batch_rows,
            "training.max_steps": task.num_steps,
            "training.learning_rate": task.learning_rate,
            "training.schedule": "constant",
            "training.warmup_steps": 0,
            "training.log_every": 1,
            "training.save_every": 10**9,
            "training.seed": task.seed,
        }
    )


def train(task: Task, figures: Figures) -> None:
    from safetensors.torch import load_file

    from postil.models.adapter import ADAPTER, add_adapter, load_adapter_state
    from postil.models.loading import load_base
    from postil.recipes.defaults import TOKENS_PER_PACK
    from postil.recipes.fitting import fit_pack

    examples = examples_of(read_rows(Path(task.rows_file)))
    config = run_config(task)
    base = load_base(config.model)
    config = config.replace({"training.max_tokens_per_pack": TOKENS_PER_PACK[base.device]})
    config = fit_pack(config, base, longest_row=max(len(e.input_ids) for e in examples))
    model = add_adapter(base.model, config.adapter, config.training.seed)
    saved = load_file(Path(task.adapter_dir) / "adapter_model.safetensors")
    load_adapter_state(model, {name.replace(".weight", f".{ADAPTER}.weight"): t for name, t in saved.items()})
    if task.arm == RECOMPUTED:
        recompute_always()
    run_loop(model, examples, config.training, Path(task.out_dir), figures)


def recompute_always() -> None:
    """As a run does whose longest row does not fit otherwise."""
    from postil.training import loop
    from postil.training.recovery import Room

    loop.first_room = lambda model, max_tokens, longest_row: Room(max_tokens, recomputes=True)


def run_loop(
    model: "PeftModel",
    examples: list[Example],
    config: TrainingConfig,
    out_dir: Path,
    figures: Figures,
    workers: "Workers | None" = None,
) -> None:
    """Trains and notes each step; checkpoints are thrown away.

    Args:
        config: resolved; logs every step.
        workers: who trains with us, where there are any.
    """
    from postil.models.packed import causal_model, decoder_of
    from postil.training.loop import train_adapter
    from postil.training.workers import ALONE

    computed: list[int] = []

    def count(_: Any, __: Any, named: dict[str, Any]) -> None:
        computed.append(named["input_ids"].numel())

    def note(event: Event) -> None:
        if isinstance(event, Warned):
            figures.remarks.append(event.message)
        if isinstance(event, StepDone):
            figures.losses.append(event.loss)
            figures.norms.append(event.grad_norm)
            figures.seconds.append(event.seconds)
            figures.tokens.append(sum(computed))
            computed.clear()
            print(f"step {event.step}: {event.loss:.6f}, {event.seconds:.2f} s", flush=True)

    hook = decoder_of(causal_model(model)).register_forward_pre_hook(count, with_kwargs=True)
    with tempfile.TemporaryDirectory(dir=out_dir) as folder:
        train_adapter(
            model,
            examples,
            config=config,
            run_dir=Path(folder),
            data_hash="",
            config_hash="",
            report=note,
            should_stop=never,
            evaluate=None,
            evaluate_every=1,
            resume=False,
            workers=workers or ALONE,
        )
    hook.remove()


if __name__ == "__main__":
    raise SystemExit(run_arm(train))
