"""B4: the head's loss and gradient against the two matrix products that they cannot do without.

    python -m benchmarks.head [--vocabularies 32000,65536,151936,262144] [--shares 0.1,0.3,1] [--json FILE]

2048 tokens of width 896, of which a share is supervised. Each cell is a process of its own, in which loss and products
take turns; memory is what the process grew by beyond the gradient that is handed on, in parts of one chunk of logits
(fp32).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.arms.recording import keep_freed_memory, peak_bytes
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import num_threads
from benchmarks.step import arm_environment
from benchmarks.workload import ROOT

TOKENS, HIDDEN, TURNS = 2048, 896, 5
TIME_BAR, MEMORY_BAR = 1.1, 1.0


def measure(vocabulary: int, share: float, dtype: str) -> dict[str, float]:
    """Seconds of the loss with its gradient and of the products, and the growth of memory by chunks."""
    import torch
    from torch import nn

    from postil.models.loss import OutputHead, head_loss

    torch.set_num_threads(num_threads())
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    rows = max(1, int(TOKENS * share))
    torch.manual_seed(0)
    linear = nn.Linear(HIDDEN, vocabulary, bias=False, dtype=kind).requires_grad_(False)
    hidden = torch.randn(rows, HIDDEN).to(kind).requires_grad_()
    targets = torch.randint(0, vocabulary, (rows,))
    head = OutputHead(module=linear, trained=False, scale=1.0, softcap=None)
    gradient = torch.randn(head.chunk_rows, vocabulary).to(kind)

    def loss() -> None:
        hidden.grad = None
        head_loss(head, hidden, targets).backward()

    def products() -> None:
        with torch.no_grad():
            for piece in torch.split(hidden, head.chunk_rows):
                nn.functional.linear(piece, linear.weight)
                gradient[: len(piece)] @ linear.weight

    one = hidden[:1].detach().requires_grad_()
    head_loss(head, one, targets[:1]).backward()  # loads what every first call loads
    before = _restarted_peak()
    loss()
    grown = peak_bytes("cpu") - before - hidden.numel() * hidden.element_size() * 2
    keep_freed_memory()  # only now: memory that was freed and kept would hide what the loss takes
    loss(), products()
    times = [(_seconds(loss), _seconds(products)) for _ in range(TURNS)]
    chunk = min(rows, head.chunk_rows) * vocabulary * 4
    return {
        "ratio": statistics.median(a / b for a, b in times),
        "seconds": statistics.median(a for a, _ in times),
        "chunks": max(0, grown) / chunk,
        "chunk_rows": head.chunk_rows,
        "rows": rows,
    }


def _restarted_peak() -> int:
    """Lets the kernel count this process's largest size anew, from what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return peak_bytes("cpu")


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--vocabularies", default="32000,65536,151936,262144")
    parser.add_argument("--shares", default="0.1,0.3,1")
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dtype == "auto":
        from postil.models.devices import choose_device, probe_devices

        arguments.dtype = choose_device("cpu", "auto", probe_devices()).dtype
    if arguments.cell:
        print(json.dumps(measure(int(arguments.cell[0]), float(arguments.cell[1]), arguments.dtype)))
        return 0
    figures = []
    for vocabulary in arguments.vocabularies.split(","):
        for share in arguments.shares.split(","):
            command = [sys.executable, "-m", "benchmarks.head", "--dtype", arguments.dtype, "--cell", vocabulary, share]
            done = subprocess.run(command, cwd=ROOT, env=arm_environment(), check=False, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"V {vocabulary}: {done.stderr[-2000:]}")
            found = json.loads(done.stdout.splitlines()[-1])
            name = f"V {int(vocabulary):,}, {float(share):.0%} of {TOKENS} tokens"
            remark = f"{found['seconds']:.3f} s, {found['rows']} rows in chunks of {found['chunk_rows']}"
            figures.append(Figure(f"{name}: time / products", found["ratio"], "x", TIME_BAR, remark=remark))
            figures.append(Figure(f"{name}: memory", found["chunks"], "chunks", MEMORY_BAR))
            print(f"{name}: {found['ratio']:.2f}x, {found['chunks']:.2f} chunks", flush=True)
    return tell(figures, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
