"""B3: what a shared beginning saves, against what its tokens promise, for prompts of 0 to 1600 tokens.

    python -m benchmarks.prefix [--prompts 0,50,150,400,800,1600] [--layers 4] [--dtype fp32] [--json FILE]

One step of 16 rows is trained by Postil's own loop; in turns with it, the same step with a first token of its own in
every row, so that nothing is shared and all else is alike. Theory is the number of tokens of one by that of the other.
Each step's loss and gradient norm are compared with those of plain PEFT, a row at a time. The model has few layers of
Qwen2.5-0.5B's shape and as much less vocabulary.
"""

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.arms.postil_loop import examples_of, run_config, run_loop
from benchmarks.arms.recording import Figures, Task, keep_freed_memory
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import minimal_work, num_threads
from benchmarks.workload import CACHE, IGNORED, Lengths, Row, Shape, make_adapter, make_model, make_rows

NUM_ROWS, RANK, RATE, SEED, STEPS, TURNS = 16, 16, 2e-4, 20, 2, 2
PACK = 1 << 17
SHARE_BAR, LOSS_BAR, NORM_BAR = 0.85, {"fp32": 1e-5, "bf16": 2e-3}, {"fp32": 1e-4, "bf16": 2e-2}


def apart(rows: list[Row]) -> list[Row]:
    """The same rows, none beginning as another does."""
    firsts = sorted({token for row in rows for token in row.input_ids})
    return [replace(r, input_ids=[firsts[n], *r.input_ids[1:]]) for n, r in enumerate(rows)]


def in_turns(task: Task, works: list[list[Row]], folder: Path) -> list[Figures]:
    """Trains on each of the sets of rows, one after the other, `TURNS` times over, from the same adapter each time."""
    from safetensors.torch import load_file

    from postil.models.adapter import ADAPTER, add_adapter, load_adapter_state
    from postil.models.loading import load_base

    config = run_config(task).replace({"training.max_tokens_per_pack": PACK})
    saved = load_file(Path(task.adapter_dir) / "adapter_model.safetensors")
    first = {name.replace(".weight", f".{ADAPTER}.weight"): tensor for name, tensor in saved.items()}
    model = add_adapter(load_base(config.model).model, config.adapter, SEED)
    found = [Figures() for _ in works]
    for _ in range(TURNS):
        for rows, figures in zip(works, found, strict=True):
            load_adapter_state(model, first)
            run_loop(model, examples_of(rows), config.training, folder, figures)
    return found


def seconds_of(figures: Figures) -> float:
    """The median of the steps that are not the first of their run."""
    return statistics.median(s for n, s in enumerate(figures.seconds) if n % STEPS)


def by_plain_peft(task: Task, rows: list[Row]) -> tuple[float, float]:
    """Loss and norm of the gradient of the first step, from a row at a time, all logits, PEFT's own layers."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if task.dtype == "bf16" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(task.model_dir, dtype=dtype, local_files_only=True).to(task.device)
    model = PeftModel.from_pretrained(base, task.adapter_dir, is_trainable=True).eval()
    trained, total = sum(row.num_trained for row in rows), 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row.input_ids], device=task.device)).logits[0, :-1].float()
        labels = torch.tensor(row.labels[1:], device=task.device)
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum") / trained
        loss.backward()
        total += float(loss)
    gradients = [p.grad.float().norm() for p in model.parameters() if p.grad is not None]
    return total, float(torch.stack(gradients).norm())


def cell(prompt: int, shape: Shape, task: Task, folder: Path) -> list[Figure]:
    """All figures of one prompt's length."""
    rows = make_rows(NUM_ROWS, Lengths(prompt), Path(task.model_dir))
    separate = apart(rows)
    shared, unshared = in_turns(task, [rows, separate], folder)
    works = [minimal_work(shape, some, RANK) for some in (rows, separate)]
    token_ratio, flop_ratio = works[1].tokens / works[0].tokens, works[1].flops / works[0].flops
    ratio = seconds_of(unshared) / seconds_of(shared)
    remark = f"tokens {shared.tokens[-1]} of {unshared.tokens[-1]}; time {ratio:.2f}x, theory {token_ratio:.2f}x"
    remark += f", by FLOPs {flop_ratio:.2f}x"
    name = f"{prompt} prompt tokens"
    return [
        Figure(f"{name}: share of theory", ratio / token_ratio, "", SHARE_BAR, at_least=True, remark=remark),
        Figure(f"{name}: share of theory by FLOPs", ratio / flop_ratio, ""),
        *exactness(name, task, rows, shared),
    ]


def exactness(name: str, task: Task, rows: list[Row], found: Figures) -> list[Figure]:
    """The first step's loss and gradient norm against plain PEFT's, relative, in millionths."""
    loss, norm = by_plain_peft(task, rows)
    apart_by = (abs(found.losses[0] - loss) / loss, abs(found.norms[0] - norm) / norm)
    limits = (LOSS_BAR[task.dtype], NORM_BAR[task.dtype])
    return [
        Figure(f"{name}: {what} apart, millionths", 1e6 * by, "", 1e6 * limit)
        for what, by, limit in zip(("loss", "gradient"), apart_by, limits, strict=True)
    ]


def make_task(shape: Shape, dtype: str, device: str, folder: Path) -> Task:
    """Model and adapter as files, and the settings of a run of `STEPS` steps on all rows."""
    name = f"model-{shape.layers}-{shape.vocabulary}"
    base = make_model(shape, dtype, CACHE / f"{name}-{dtype}")
    adapter = make_adapter(base, shape, RANK, CACHE / f"{name}-adapter-{RANK}")
    return Task(
        arm="postil",
        rows_file="",
        model_dir=str(base),
        adapter_dir=str(adapter),
        out_dir=str(folder),
        num_steps=STEPS,
        batch_rows=NUM_ROWS,
        padded=0,
        rank=RANK,
        dtype=dtype,
        device=device,
        learning_rate=RATE,
        seed=SEED,
    )


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--prompts", default="0,50,150,400,800,1600")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(num_threads())
    keep_freed_memory()
    CACHE.mkdir(parents=True, exist_ok=True)
    shape = Shape().at_depth(arguments.layers)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        task = make_task(shape, arguments.dtype, "cpu", Path(folder))
        for prompt in (int(number) for number in arguments.prompts.split(",")):
            figures += cell(prompt, shape, task, Path(folder))
            print(f"{figures[-4].name}: {figures[-4].remark}", flush=True)
    return tell(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
