"""B5: what the adapter costs over its frozen base, for ranks of 4 to 256.

    python -m benchmarks.lora [--ranks 4,16,64,256] [--layers 4] [--json FILE]

A step of 16 rows of B2's lengths in Postil's own loop (forward, backward and update) with an adapter on every linear
layer, in turns with forward and backward through the bare base (its embeddings ask for a gradient, so that the same
way back is gone). Few layers of Qwen2.5-0.5B's shape, as much less vocabulary.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.arms.postil_loop import examples_of, run_config, run_loop
from benchmarks.arms.recording import Figures, keep_freed_memory
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import num_threads
from benchmarks.prefix import PACK, SEED, make_task
from benchmarks.workload import B2, CACHE, Shape, make_rows

NUM_ROWS, STEPS, TURNS = 16, 3, 3
USUAL_RANK, BAR = 16, 1.08


class Bare:
    """The base alone, with a number added to its embeddings that asks for a gradient."""

    def __init__(self, base: Any, batch: Any) -> None:
        from torch import nn, zeros

        from postil.training.optimizer import make_optimizer
        from postil.training.state import TrainingState

        gate = nn.Parameter(zeros(1, dtype=base.dtype))
        base.get_input_embeddings().register_forward_hook(lambda _, __, output: output + gate)
        named = {"gate": gate}
        self.batch = batch
        self.state = TrainingState(base, named, make_optimizer(named, betas=(0.9, 0.95), weight_decay=0.0), 1.0)

    def seconds(self) -> list[float]:
        """Of forward and backward, of each step that is not the first."""
        from postil.models.packed import packed_attention
        from postil.training.state import forward_backward

        times = []
        for _ in range(STEPS):
            started = time.perf_counter()
            with packed_attention(self.state.model):
                forward_backward(self.state, self.batch)
            self.state.optimizer.zero_grad()
            times.append(time.perf_counter() - started)
        return times[1:]


def compare(rank: int, bare: Bare, task: Any, examples: Any, folder: Path) -> tuple[float, float]:
    """(step with an adapter / bare step, seconds of the bare one), in turns."""
    from postil.models.adapter import add_adapter
    from postil.models.loading import load_base

    changes = {"adapter.rank": rank, "training.max_tokens_per_pack": PACK, "training.max_steps": STEPS}
    config = run_config(task).replace(changes)
    model = add_adapter(load_base(config.model).model, config.adapter, SEED)
    ratios, bares = [], []
    for _ in range(TURNS):
        figures = Figures()
        run_loop(model, examples, config.training, folder, figures)
        bares.append(statistics.median(bare.seconds()))
        ratios.append(statistics.median(figures.seconds[1:]) / bares[-1])
    return statistics.median(ratios), statistics.median(bares)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--ranks", default="4,16,64,256")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto")
    arguments = parser.parse_args()
    import torch

    from postil.models.devices import choose_device, probe_devices
    from postil.models.loading import load_base
    from postil.training.batches import make_batches

    torch.set_num_threads(num_threads())
    keep_freed_memory()
    CACHE.mkdir(parents=True, exist_ok=True)
    dtype = choose_device("cpu", arguments.dtype, probe_devices()).dtype
    shape = Shape().at_depth(arguments.layers)
    figures = []
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        task = make_task(shape, dtype, "cpu", Path(name))
        examples = examples_of(make_rows(NUM_ROWS, B2, Path(task.model_dir)))
        batches = make_batches(examples, batch_rows=NUM_ROWS, max_tokens_per_pack=PACK, seed=SEED, steps=1, shares=True)
        bare = Bare(load_base(run_config(task).model).model, next(batches))
        for rank in (int(number) for number in arguments.ranks.split(",")):
            ratio, seconds = compare(rank, bare, task, examples, Path(name))
            added = 6 * rank * sum(i + o for i, o in shape.linears()) / (4 * sum(i * o for i, o in shape.linears()))
            remark = f"{seconds:.2f} s bare; the trunk's FLOPs grow by {added:.1%}"
            bar = BAR if rank == USUAL_RANK else None
            figures.append(Figure(f"rank {rank}: step / frozen base", ratio, "x", bar, remark=remark))
    return tell(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
