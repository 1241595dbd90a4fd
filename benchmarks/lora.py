"""B5: what the adapter costs over its frozen base, for ranks of 4 to 256.

    python -m benchmarks.lora [--ranks 4,16,64,256] [--layers 4] [--json FILE]

A step of 16 rows of B2's lengths: forward, backward and the optimizer's update with an adapter on every linear layer,
in turns with forward and backward through the bare base (its embeddings ask for a gradient, so that the same way back
is gone). Few layers of Qwen2.5-0.5B's shape, as much less vocabulary.
"""

import statistics
import sys
import time
from typing import Any

from benchmarks.arms.postil_loop import examples_of
from benchmarks.arms.recording import keep_freed_memory
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import num_threads
from benchmarks.workload import B2, CACHE, Shape, make_model, make_rows

NUM_ROWS, SEED, RATE, TURNS, PACK = 16, 20, 1e-4, 5, 1 << 17
USUAL_RANK, BAR = 16, 1.08


class Step:
    """A model in memory and one batch for it."""

    def __init__(self, base: Any, batch: Any, rank: int | None) -> None:
        from torch import nn, zeros

        from postil.config import AdapterConfig, TrainingConfig
        from postil.models.adapter import add_adapter
        from postil.training.optimizer import make_optimizer
        from postil.training.state import TrainingState, make_state

        self.batch, self.rank = batch, rank
        if rank is None:
            gate = nn.Parameter(zeros(1, dtype=base.dtype))
            base.get_input_embeddings().register_forward_hook(lambda _, __, output: output + gate)
            named = {"gate": gate}
            optimizer = make_optimizer(named, betas=(0.9, 0.95), weight_decay=0.0)
            self.state = TrainingState(base, named, optimizer, 1.0)
        else:
            model = add_adapter(base, AdapterConfig(rank=rank, dropout=0.0), SEED)
            self.state = make_state(model, TrainingConfig())

    def seconds(self) -> float:
        """Of forward, backward, and of the update where there is an adapter."""
        from postil.models.packed import packed_attention
        from postil.training.state import forward_backward, optim_step

        started = time.perf_counter()
        with packed_attention(self.state.model):
            forward_backward(self.state, self.batch)
        if self.rank is None:
            self.state.optimizer.zero_grad()
        else:
            optim_step(self.state, RATE)
        return time.perf_counter() - started


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--ranks", default="4,16,64,256")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto")
    arguments = parser.parse_args()
    import torch

    from postil.config import ModelConfig
    from postil.models.devices import choose_device, probe_devices
    from postil.models.loading import load_base
    from postil.training.batches import make_batches

    torch.set_num_threads(num_threads())
    keep_freed_memory()
    dtype = choose_device("cpu", arguments.dtype, probe_devices()).dtype
    shape = Shape().at_depth(arguments.layers)
    folder = make_model(shape, dtype, CACHE / f"model-{shape.layers}-{shape.vocabulary}-{dtype}")
    examples = examples_of(make_rows(NUM_ROWS, B2, folder))
    batch = next(make_batches(examples, batch_rows=NUM_ROWS, max_tokens_per_pack=PACK, seed=SEED, steps=1))

    def load() -> Any:
        return load_base(ModelConfig(base=str(folder), dtype=dtype, device="cpu")).model

    bare = Step(load(), batch, None)
    figures = []
    for rank in (int(number) for number in arguments.ranks.split(",")):
        adapted = Step(load(), batch, rank)
        adapted.seconds(), bare.seconds()
        times = [(adapted.seconds(), bare.seconds()) for _ in range(TURNS)]
        ratio = statistics.median(a / b for a, b in times)
        added = 6 * rank * sum(i + o for i, o in shape.linears()) / (4 * sum(i * o for i, o in shape.linears()))
        remark = f"{statistics.median(b for _, b in times):.2f} s bare; the trunk's FLOPs grow by {added:.1%}"
        bar = BAR if rank == USUAL_RANK else None
        figures.append(Figure(f"rank {rank}: step / frozen base", ratio, "x", bar, remark=remark))
        print(f"rank {rank}: {ratio:.3f}x", flush=True)
    return tell(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
