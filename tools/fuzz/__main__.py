"""Runs the fuzzing in worker processes, so that one that dies is a finding and not the end."""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom
from typing import Any

from tools.fuzz.judging import judge, make_file
from tools.fuzz.seeds import seeds

MAX_SECONDS = 60
MAX_GROWTH_BYTES = 1 << 30
BATCH = 250
SHARED = Path(__file__).parents[3] / "shared" / "data"


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads broken files and reports what should never happen.")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="printed where not given")
    parser.add_argument("--minutes", type=float, default=30, help="stop after these")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--only", type=int, help="one file again, kept in the current folder")
    parser.add_argument("--worker", type=int, nargs=2, metavar=("FIRST", "COUNT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    seed = SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    if args.worker:
        return work(range(args.worker[0], sum(args.worker)), seed)
    if args.only is not None:
        path = make_file(args.only, seed, seeds(SHARED), Path.cwd())
        print(path.name, judge(path) or "is read as it should be")
        return 0
    return run(args.files, seed, args.minutes, args.workers)


def run(files: int, seed: int, minutes: float, workers: int) -> int:
    """All batches, `workers` at a time; 1 where something was found."""
    print(f"seed {seed}, {files} files, at most {minutes:g} minutes, {workers} at a time", flush=True)
    started, done, findings = time.monotonic(), 0, []
    stop = started + minutes * 60
    starts = range(0, files, BATCH)
    with ThreadPoolExecutor(workers) as pool:
        for found, count in pool.map(lambda first: batch(first, min(BATCH, files - first), seed, stop), starts):
            for finding in found:
                print(f"  FOUND {finding['file']}: {finding['wrong']}", flush=True)
            findings += found
            done += count
            if count:
                print(f"{done} files, {time.monotonic() - started:.0f} s, {len(findings)} findings", flush=True)
    kinds = sorted({str(f["wrong"]).splitlines()[-1][:150] for f in findings})
    print(f"{done} files read with seed {seed}; {len(findings)} findings of {len(kinds)} kinds", *kinds, sep="\n  ")
    return 1 if findings else 0


def batch(first: int, count: int, seed: int, stop: float) -> tuple[list[dict[str, Any]], int]:
    """Findings of one worker and the number of its files, none where it is later than `stop`.

    A worker that dies is replaced, and the file that it died of is a finding.
    """
    last, findings = first + count, []
    if time.monotonic() > stop:
        return [], 0
    while first < last:
        command = [sys.executable, "-m", "tools.fuzz", "--seed", str(seed), "--worker", str(first), str(last - first)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        current: dict[str, Any] = {"number": first, "file": "?"}
        for line in worker.stdout:
            current = json.loads(line)
            if current["wrong"]:
                findings.append(current)
        first = last
        if worker.wait():
            findings.append({**current, "wrong": f"the process died with {worker.returncode}"})
            first = current["number"] + 1
    return findings, count


def work(numbers: range, seed: int) -> int:
    """Reads files and writes a line before and, where something is wrong, after each."""
    signal.signal(signal.SIGALRM, _too_slow)
    files = seeds(SHARED)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            path = make_file(number, seed, files, Path(folder))
            _write({"number": number, "file": path.name, "wrong": None})
            if wrong := _judged(path):
                _write({"number": number, "file": path.name, "wrong": wrong})
            path.unlink()
    return 0


def _judged(path: Path) -> str | None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(MAX_SECONDS)
    try:
        wrong = judge(path)
    except BaseException as error:
        return "".join(traceback.format_exception(error)[-3:]) if not isinstance(error, KeyboardInterrupt) else None
    finally:
        signal.alarm(0)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    return f"took {growth / 1e6:.0f} MB" if growth > MAX_GROWTH_BYTES else wrong


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"took more than {MAX_SECONDS} seconds")


def _write(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
