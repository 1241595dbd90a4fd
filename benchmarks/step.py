"""The headline: one optimizer step of Postil against the same step of other programs, as ratios.

    python -m benchmarks.step [--arms plain,postil] [--benchmark B1|B2] [--quick | --full] [--rounds N] [--json FILE]

    B1   16 rows of 210 to 270 tokens, 150 of them one system prompt; the plain recipe pads to 406
    B2   the same rows without the prompt; the plain recipe pads to 256

Arms take turns, each in a fresh process: same rows in the same order, same random model of Qwen2.5-0.5B's shape, same
first adapter, same AdamW, same threads, same settings of the memory allocator. The first step of each process is not
counted. Before each arm the machine's speed in matrix products is measured; a round in which it fell by more than a
fifth is not counted. A ratio counts where the losses of all steps agree. Other programs come from
`python -m benchmarks.environments`; an arm that cannot be run is listed with the reason. With --quick a slow machine
trains fewer layers, with as much less vocabulary: the table's first line says how many.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.arms.recording import Figures, Task
from benchmarks.comparison import Round, Setting, bars, print_table, summary
from benchmarks.environments import is_whole, python_of
from benchmarks.flops import Work, gemm_rate, minimal_work, num_threads
from benchmarks.workload import B1, B2, CACHE, ROOT, Lengths, Row, Shape, make_adapter, make_model, make_rows, save_rows

LENGTHS = {"B1": B1, "B2": B2}
NUM_ROWS, BATCH_ROWS, RANK, RATE, SEED = 512, 16, 16, 2e-4, 20
ARM_SECONDS = 3600
QUICK_SECONDS, QUICK_STEPS = 540, 2
PLAIN_SHARE, PLAIN_MFU = 0.35, 0.5  # of a quick run's time; of the rate of matrix products, as far as is known


@dataclass(frozen=True)
class Arm:
    """How an arm is started: a module, in an environment of benchmarks/environments.py or in this one."""

    module: str
    environment: str | None = None


ARMS = {
    "plain": Arm("plain"),
    "plain_dynamic": Arm("plain"),
    "trl": Arm("trl", "trl"),
    "trl_tuned": Arm("trl", "trl"),
    "llamafactory": Arm("llamafactory", "llamafactory"),
    "llamafactory_packed": Arm("llamafactory", "llamafactory"),
    "postil": Arm("postil_loop"),
    "postil_recomputed": Arm("postil_loop"),
}


def make_setting(arguments: argparse.Namespace, folder: Path) -> Setting:
    """Rows, model and adapter as files, and the work of each step that counts."""
    lengths, dtype = LENGTHS[arguments.benchmark], arguments.dtype
    layers = arguments.layers or (fitting_layers(lengths, dtype, arguments.device) if arguments.quick else None)
    shape = Shape() if layers is None else Shape().at_depth(layers)
    print(f"{arguments.benchmark}: {shape.layers} layers, vocabulary {shape.vocabulary}, {dtype}", flush=True)
    name = f"model-{shape.layers}-{shape.vocabulary}"
    base = make_model(shape, dtype, CACHE / f"{name}-{dtype}")
    rows = make_rows(NUM_ROWS, lengths, base)
    order = draw_steps(rows, arguments.steps)
    save_rows(rows, order, folder / "rows.json")
    adapter = make_adapter(base, shape, RANK, CACHE / f"{name}-adapter-{RANK}")
    task = Task(
        arm="",
        rows_file=str(folder / "rows.json"),
        model_dir=str(base),
        adapter_dir=str(adapter),
        out_dir=str(folder),
        num_steps=arguments.steps,
        batch_rows=BATCH_ROWS,
        padded=lengths.padded,
        rank=RANK,
        dtype=dtype,
        device=arguments.device,
        learning_rate=RATE,
        seed=SEED,
    )
    work = [minimal_work(shape, [rows[n] for n in step], RANK) for step in order]
    return Setting(shape, work[1:], task, folder)


def fitting_layers(lengths: Lengths, dtype: str, device: str) -> int:
    """The most layers of which the plain recipe does a round of a quick run in time, on this machine as it is now."""
    whole = Shape()
    tokens = BATCH_ROWS * lengths.padded
    linear = whole.layers * sum(i * o for i, o in whole.linears()) + whole.vocabulary * whole.hidden
    work = Work(tokens, tokens, 4.0 * linear * tokens, 4.0 * linear * tokens)
    seconds = QUICK_STEPS * work.flops / (PLAIN_MFU * gemm_rate(whole, dtype, work, device))
    return next((layers for layers in (24, 12, 6) if seconds * layers / 24 <= PLAIN_SHARE * QUICK_SECONDS), 3)


def draw_steps(rows: list[Row], steps: int) -> list[list[int]]:
    """The numbers of each step's rows, as Postil's own loop draws them from the seed."""
    from benchmarks.arms.postil_loop import examples_of
    from postil.training.batches import make_batches

    batches = make_batches(examples_of(rows), batch_rows=BATCH_ROWS, max_tokens_per_pack=10**6, seed=SEED, steps=steps)
    return [[place.row - 1 for place in batch.places] for batch in batches]


def measure(setting: Setting, arms: list[str], rounds: int, ends_at: float, not_run: dict[str, str]) -> list[Round]:
    """All rounds that fit, at least one; an arm that fails is not tried again, and noted in `not_run`."""
    done: list[Round] = []
    began = time.monotonic()
    for number in range(rounds):
        if done and time.monotonic() + (time.monotonic() - began) / len(done) > ends_at:
            break
        this = Round()
        for arm in [a for a in arms if a not in not_run]:
            this.calibrations[arm] = gemm_rate(setting.shape, setting.task.dtype, setting.work[0], setting.task.device)
            print(
                f"round {number + 1}, {arm}: {this.calibrations[arm] / 1e9:.0f} GFLOP/s in matrix products", flush=True
            )
            found = run_arm(setting, arm)
            if isinstance(found, str):
                not_run[arm] = found
                print(f"  not run: {found}", flush=True)
            else:
                this.figures[arm] = found
                seconds = ", ".join(f"{s:.2f}" for s in found.seconds)
                print(f"  steps of {seconds} s; {found.peak_bytes / 1e9:.2f} GB", flush=True)
        done.append(this)
    return done


def run_arm(setting: Setting, name: str) -> Figures | str:
    """The figures of one process, or why there are none."""
    arm = ARMS[name]
    if arm.environment and not is_whole(arm.environment):
        return f"no environment: python -m benchmarks.environments {arm.environment}"
    python = str(python_of(arm.environment)) if arm.environment else sys.executable
    task_file, figures_file = setting.folder / f"{name}.task.json", setting.folder / f"{name}.figures.json"
    changes = {"arm": name, "out_dir": tempfile.mkdtemp(dir=setting.folder)}
    task_file.write_text(json.dumps(asdict(setting.task) | changes), "utf-8")
    figures_file.unlink(missing_ok=True)
    log = CACHE / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", f"benchmarks.arms.{arm.module}", str(task_file), str(figures_file)]
    with log.open("w", encoding="utf-8") as output:
        try:
            subprocess.run(
                command, cwd=ROOT, env=arm_environment(), stdout=output, stderr=output, timeout=ARM_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"not done after {ARM_SECONDS} s"
    if not figures_file.exists():
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1][:200] if lines else 'ended without a word'} (build/bench/logs/{name}.log)"
    figures = Figures(**json.loads(figures_file.read_text("utf-8")))
    if len(figures.seconds) != setting.task.num_steps or len(figures.losses) != setting.task.num_steps:
        return f"{len(figures.seconds)} steps instead of {setting.task.num_steps} (build/bench/logs/{name}.log)"
    return figures


def arm_environment() -> dict[str, str]:
    """The same for every arm: threads, memory, and no way out to a hub."""
    home = str(CACHE / "home")
    threads = str(num_threads())
    brought = os.environ.get("POSTIL_BENCH_SITE")  # packages that benchmarks/gpu.sh has brought along
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *([brought] if brought else [])]),
        "PYTHONUNBUFFERED": "1",
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default="plain,postil", help=f"of {','.join(ARMS)}")
    parser.add_argument("--benchmark", choices=sorted(LENGTHS), default="B1")
    parser.add_argument("--quick", action="store_true", help="one step that counts, two rounds at most, ten minutes")
    parser.add_argument("--full", action="store_true", help="every one of the 512 rows")
    parser.add_argument("--rounds", type=int, default=None, help="3, with --quick 2")
    parser.add_argument("--dtype", choices=("auto", "fp32", "bf16"), default="auto", help="of the base")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layers", type=int, default=None, help="fewer than 24; vocabulary shrinks alike")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also writes everything there")
    chosen = parser.parse_args(arguments)
    chosen.arms = [name for name in chosen.arms.split(",") if name]
    if unknown := [name for name in chosen.arms if name not in ARMS]:
        parser.error(f"no such arm: {', '.join(unknown)}; there are {', '.join(ARMS)}")
    chosen.steps = NUM_ROWS // BATCH_ROWS if chosen.full else QUICK_STEPS if chosen.quick else 3
    chosen.rounds = chosen.rounds or (2 if chosen.quick else 3)
    if chosen.dtype == "auto":
        from postil.models.devices import choose_device, probe_devices

        chosen.dtype = choose_device(chosen.device, "auto", probe_devices()).dtype
    return chosen


def main() -> int:
    arguments = parse()
    import torch

    torch.set_num_threads(num_threads())
    ends_at = time.monotonic() + (QUICK_SECONDS if arguments.quick else 10**9)
    CACHE.mkdir(parents=True, exist_ok=True)
    not_run: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        setting = make_setting(arguments, Path(folder))
        rounds = measure(setting, arguments.arms, arguments.rounds, ends_at, not_run)
    if len(not_run) == len(arguments.arms):
        print("No arm was run.")
        return 1
    result = summary(setting, rounds, arguments.arms, not_run)
    result["bars"] = bars(arguments.benchmark, result)
    result |= {
        "benchmark": arguments.benchmark,
        "layers": setting.shape.layers,
        "vocabulary": setting.shape.vocabulary,
        "dtype": arguments.dtype,
        "device": arguments.device,
        "threads": num_threads(),
        "machine": platform.machine(),
        "minimal_tokens_per_step": round(statistics.mean(work.tokens for work in setting.work)),
    }
    print_table(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0 if result["losses_agree"] else 1


if __name__ == "__main__":
    sys.exit(main())
