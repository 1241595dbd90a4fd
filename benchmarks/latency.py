"""B9: from asking for a job to its tested adapter, phase by phase, on the starter with files of 100, 300 and 1000 rows.

    python -m benchmarks.latency [--rows 100,300,1000] [--steps 5] [--json FILE]

Cold is a fresh process, which imports torch and the rest; warm is a fork of the zygote, as the service starts its jobs.
Training is cut to a few steps, unless --steps 0 asks for all of it: what is told is the fixed cost beside it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.data_room import write_jsonl
from benchmarks.figures import Figure, parser_of, tell
from benchmarks.flops import num_threads
from postil.config import RunConfig
from postil.events import CheckpointSaved, PhaseStarted, RunFinished, StepDone
from postil.recipes.launch import RunSpec, find_exit, read_events, start_run
from postil.recipes.zygote_door import is_ready, start_forked_run, start_zygote

LIMIT_SECONDS = 3600
STARTING, FIRST_STEP, OTHER_STEPS, ENDING = "start", "first step", "other steps and measuring", "end of the process"
Start = Callable[[Path, RunSpec], int]


def phases_of(folder: Path, asked_at: float, ended_at: float) -> dict[str, float]:
    """Seconds of each phase, in order; training is told apart into its first step and the others."""
    marks: list[tuple[str, datetime]] = [(STARTING, datetime.fromtimestamp(asked_at, UTC))]
    events, _ = read_events(folder)
    for event in events:
        if isinstance(event, PhaseStarted):
            marks.append((event.phase, event.at))
        elif isinstance(event, StepDone) and event.step == 1:
            marks[-1] = (FIRST_STEP, marks[-1][1])
            marks.append((OTHER_STEPS, event.at))
        elif isinstance(event, CheckpointSaved) and marks[-1][0] == OTHER_STEPS:
            marks.append(("checkpoint", event.at))
        elif isinstance(event, RunFinished):
            marks.append((ENDING, event.at))
    ends = [at.timestamp() for _, at in marks[1:]] + [ended_at]
    seconds: dict[str, float] = {}
    for (name, at), end in zip(marks, ends, strict=True):
        seconds[name] = seconds.get(name, 0.0) + end - at.timestamp()
    return seconds


def run(start: Start, folder: Path, file: Path, steps: int) -> dict[str, float]:
    """Phases of one job."""
    changes = {"data.file": str(file), "output.dir": str(folder), "training.log_every": 1}
    config = RunConfig().replace(changes | ({"training.max_steps": steps} if steps else {}))
    spec = RunSpec(
        job_id=folder.name, attempt=1, config=config.model_dump(mode="json"), threads=num_threads(), is_confined=False
    )
    asked_at = time.time()
    pid = start(folder, spec)
    ends = time.monotonic() + LIMIT_SECONDS
    while (ended := find_exit(folder, 1)) is None:
        if time.monotonic() > ends:
            raise TimeoutError(f"process {pid} is still at work in {folder}")
        time.sleep(0.01)
    ended_at = time.time()
    if ended.code != 0:
        raise RuntimeError(f"the run ended with {ended}")
    return phases_of(folder, asked_at, ended_at)


def stop(zygote: "subprocess.Popen[bytes]") -> None:
    """It ends with its standard input."""
    assert zygote.stdin
    zygote.stdin.close()
    zygote.wait(30)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", default="100,300,1000")
    parser.add_argument("--steps", type=int, default=5, help="0 trains all of the recommended ones")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        socket = folder / "zygote.sock"
        zygote = start_zygote(socket, folder / "zygote.log")
        try:
            while not is_ready(socket):
                if zygote.poll() is not None:
                    raise RuntimeError((folder / "zygote.log").read_text("utf-8", errors="replace"))
                time.sleep(0.1)
            starts: dict[str, Start] = {"cold": start_run, "warm": lambda f, spec: start_forked_run(socket, f, spec)}
            for rows in (int(number) for number in arguments.rows.split(",")):
                file = write_jsonl(folder / f"{rows}.jsonl", rows)
                for kind, start in starts.items():
                    seconds = run(start, folder / f"{kind}-{rows}", file, arguments.steps)
                    fixed = sum(s for phase, s in seconds.items() if phase not in (FIRST_STEP, OTHER_STEPS))
                    parts = ", ".join(f"{phase} {s:.2f}" for phase, s in seconds.items())
                    figures.append(Figure(f"{kind}, {rows} rows: all but the steps", fixed, "s", remark=parts))
                    print(f"{figures[-1].name}: {fixed:.2f} s; {parts}", flush=True)
        finally:
            stop(zygote)
    return tell(figures, arguments.json)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(num_threads()))
    sys.exit(main())
