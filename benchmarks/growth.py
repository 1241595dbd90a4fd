"""B10: how time and memory grow with rows, tokens of a step and rank, on the starter.

    python -m benchmarks.growth [rows tokens rank workers] [--most-rows 100000] [--json FILE]

    rows      a file is read, checked, split and tokenized, and the batches of an epoch are made
    tokens    steps of 8 to 128 rows, all computed at once
    rank      steps of 32 rows, ranks 4 to 64, beyond which the starter's weights are no wider
    workers   steps of 32 rows by one process and by as many as there are cores, up to four, of one thread each

Each cell is a process of its own. Linear is told as the exponent of a power law between the largest cell and one a
tenth of it (rows), or between the two largest cells.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.arms.recording import Figures, keep_freed_memory, peak_bytes
from benchmarks.data_room import write_jsonl
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import num_threads
from benchmarks.step import arm_environment
from benchmarks.workload import ROOT
from postil.config import RunConfig

if TYPE_CHECKING:
    from postil.training.workers import Workers

PACK, STEP_ROWS, STEPS = 1 << 17, (8, 16, 32, 64, 128), 4
RANKS, RANK_ROWS = (4, 16, 32, 64), 32
EXPONENT_BAR, BYTES_PER_TOKEN_BAR = 1.1, 1024


@dataclass(frozen=True)
class Cell:
    """What one process found.

    Args:
        tokens: of all rows, or computed in a step.
        grown_bytes: the largest size of the process, beyond what it had before.
    """

    seconds: float
    tokens: int
    peak_bytes: int
    grown_bytes: int


def read_file(folder: Path, rows: int) -> Cell:
    """Everything before training, and the batches of an epoch."""
    from postil.recipes.prepare import tokenize_file
    from postil.training.batches import make_batches, steps_per_epoch

    tokenize_file(RunConfig().replace({"data.file": str(write_jsonl(folder / "few.jsonl", 20))}))  # imports
    file = write_jsonl(folder / "rows.jsonl", rows)
    before, started = peak_bytes("cpu"), time.perf_counter()
    made = tokenize_file(RunConfig().replace({"data.file": str(file)}))
    examples = made.train.examples
    steps = steps_per_epoch(len(examples), 16)
    for _ in make_batches(examples, batch_rows=16, max_tokens_per_pack=PACK, seed=0, steps=steps):
        pass
    seconds = time.perf_counter() - started
    tokens = sum(len(e.input_ids) for part in (made.train, made.heldout) for e in part.examples)
    return Cell(seconds, tokens, peak_bytes("cpu"), peak_bytes("cpu") - before)


def train_together(folder: Path, rows: int, rank: int) -> Cell:
    """The median of a few steps of all workers of a `torchrun`; the memory is this one's."""
    from postil.training.workers import joined_workers

    with joined_workers() as workers:
        return train_steps(folder, rows, rank, workers)


def train_steps(folder: Path, rows: int, rank: int, workers: "Workers | None" = None) -> Cell:
    """The median of a few steps."""
    import torch

    from benchmarks.arms.postil_loop import run_loop
    from postil.models.adapter import add_adapter
    from postil.models.loading import load_base
    from postil.recipes.prepare import tokenize_file

    torch.set_num_threads(1 if workers else num_threads())
    keep_freed_memory()
    config = RunConfig().replace(
        {
            "data.file": str(write_jsonl(folder / "rows.jsonl", 1000)),
            "adapter.rank": rank,
            "training.batch_rows": rows,
            "training.max_steps": STEPS,
            "training.learning_rate": 1e-4,
            "training.warmup_steps": 0,
            "training.log_every": 1,
            "training.max_tokens_per_pack": PACK,
        }
    )
    examples = list(tokenize_file(config).train.examples)
    base = load_base(config.model)
    model = add_adapter(base.model, config.adapter, 0)
    before, figures = peak_bytes("cpu"), Figures()
    run_loop(model, examples, config.training, folder, figures, workers)
    if workers is not None and not workers.is_first:
        raise SystemExit
    seconds = statistics.median(figures.seconds[1:])
    return Cell(seconds, round(statistics.mean(figures.tokens[1:])), peak_bytes("cpu"), peak_bytes("cpu") - before)


CELLS = {"rows": read_file, "steps": train_steps, "together": train_together}


def in_process(kind: str, *numbers: int, workers: int | None = None) -> Cell:
    """A cell in a fresh process, or in as many as are asked for, with one thread each."""
    command, environment = [sys.executable], arm_environment()
    if workers is not None:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command += ["-m", "benchmarks.growth", "--cell", kind, *map(str, numbers)]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{kind} {numbers}: {done.stderr[-2000:]}")
    return Cell(**json.loads(done.stdout.splitlines()[-1]))


def exponent(less: Cell, more: Cell, factor: float) -> float:
    """Of time against `factor`: 1 is linear."""
    return math.log(more.seconds / less.seconds) / math.log(factor)


def grow_rows(most: int) -> list[Figure]:
    cells = {rows: in_process("rows", rows) for rows in (most // 1000, most // 100, most // 10, most) if rows >= 100}
    figures = [
        Figure(f"{rows:,} rows: read, check, tokenize, batch", cell.seconds, "s", remark=_memory(cell))
        for rows, cell in cells.items()
    ]
    last = cells[most]
    figures.append(Figure("exponent of time in rows", exponent(cells[most // 10], last, 10), "", EXPONENT_BAR))
    per_token = last.grown_bytes / last.tokens
    figures.append(Figure("memory per token of a row", per_token, "bytes", BYTES_PER_TOKEN_BAR))
    return figures


def grow_steps() -> list[Figure]:
    cells = [in_process("steps", rows, 16) for rows in STEP_ROWS]
    figures = [Figure(f"a step of {cell.tokens:,} tokens", cell.seconds, "s", remark=_memory(cell)) for cell in cells]
    grown = exponent(cells[-2], cells[-1], cells[-1].tokens / cells[-2].tokens)
    return [*figures, Figure("exponent of time in tokens", grown, "", EXPONENT_BAR)]


def grow_rank() -> list[Figure]:
    cells = {rank: in_process("steps", RANK_ROWS, rank) for rank in RANKS}
    first = cells[RANKS[0]].seconds
    return [
        Figure(f"rank {rank}: step / rank {RANKS[0]}", cell.seconds / first, "x", remark=_memory(cell))
        for rank, cell in cells.items()
    ]


def grow_workers() -> list[Figure]:
    numbers = [n for n in (1, 2, 4) if n <= (os.cpu_count() or 1)]
    cells = {n: in_process("together", RANK_ROWS, 16, workers=n) for n in numbers}
    alone = cells[1].seconds
    return [
        Figure(f"{n} of one thread each: step of one / step", alone / cell.seconds, "x", remark=_memory(cell))
        for n, cell in cells.items()
    ]


def _memory(cell: Cell) -> str:
    return (
        f"{cell.tokens:,} tokens, {cell.peak_bytes / 2**20:,.0f} MB, {cell.grown_bytes / 2**20:,.0f} MB of them grown"
    )


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("what", nargs="*", default=["rows", "tokens", "rank", "workers"], help="these four")
    parser.add_argument("--most-rows", type=int, default=100_000)
    parser.add_argument("--cell", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        kind, *numbers = arguments.cell
        with tempfile.TemporaryDirectory() as folder:
            cell = CELLS[kind](Path(folder), *map(int, numbers))
        print(json.dumps(cell.__dict__))
        return 0
    grow = {
        "rows": lambda: grow_rows(arguments.most_rows),
        "tokens": grow_steps,
        "rank": grow_rank,
        "workers": grow_workers,
    }
    if unknown := [what for what in arguments.what if what not in grow]:
        parser.error(f"no such growth: {', '.join(unknown)}; there are {', '.join(grow)}")
    figures = [figure for what in arguments.what for figure in grow[what]()]
    return tell(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
