"""`torchrun ... -m postil train`: two workers make one adapter, and a signal stops both after a checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
TOGETHER = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
ROWS = "question,answer\n" + "".join(f"What is item {n}?,It is number {n} of our shop.\n" for n in range(40))


def start(folder: Path, out: str, steps: int, *more: str, together: bool = True) -> "subprocess.Popen[str]":
    """`postil train` on the starter, by two workers or by one."""
    (folder / "shop.csv").write_text(ROWS, "utf-8")
    settings = (
        f"training.max_steps={steps}",
        "training.save_every=1000000",
        "evaluation.max_answers=2",
        "model.dtype=fp32",
    )
    command = [
        sys.executable,
        "-m",
        *(TOGETHER if together else ()),
        "postil",
        "train",
        "shop.csv",
        "-o",
        out,
        "--json",
    ]
    command += [word for setting in settings for word in ("--set", setting)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *more], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(600)
def test_two_workers_make_the_adapter_of_one(tmp_path: Path) -> None:
    results = []
    for out, together in (("two", True), ("one", False)):
        process = start(tmp_path, out, 4, together=together)
        output, words = process.communicate()
        assert process.returncode == 0, words
        results.append(json.loads(output.splitlines()[-1]))
    two, one = results
    assert two["steps"] == one["steps"] == 4
    assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
    assert two["heldout_loss_tuned"] == pytest.approx(one["heldout_loss_tuned"], abs=1e-3)
    weights = [load_file(tmp_path / out / "adapter" / "adapter_model.safetensors") for out in ("two", "one")]
    assert weights[0].keys() == weights[1].keys()
    apart, whole = (
        sum(float(t.float().square().sum()) for t in found) ** 0.5
        for found in ([weights[0][n] - weights[1][n] for n in weights[1]], weights[1].values())
    )
    assert apart < 0.02 * whole
    steps = [json.loads(line) for line in (tmp_path / "two" / "events.jsonl").read_text("utf-8").splitlines()]
    assert [e["step"] for e in steps if e["event"] in ("step", "pace")] == [1, 2, 3, 4]  # told by the first alone


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.timeout(600)
def test_a_signal_stops_both_after_a_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    for resume in ((), ("--resume",)):
        process, before = start(tmp_path, "run", 4000, *resume), len(events(tmp_path / "run"))
        wait_for_a_step(process, tmp_path / "run", before)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        assert process.returncode != 0
        newest = max((tmp_path / "run" / "checkpoints").glob("step-*"), key=number)
        told = events(tmp_path / "run")
        # nothing but the signal asks for a checkpoint so early
        assert [e["step"] for e in told if e["event"] == "checkpoint"][-1] == number(newest)
    first = [e["first_step"] for e in told if e["event"] == "training_planned"]
    saved = [e["step"] for e in told if e["event"] == "checkpoint"]
    assert first == [0, saved[0]] and saved[1] > saved[0]


@pytest.mark.timeout(600)
def test_a_finished_run_is_left_alone_by_both(tmp_path: Path) -> None:
    for resume in ((), ("--resume",)):
        process = start(tmp_path, "run", 2, *resume)
        output, words = process.communicate(timeout=300)
        assert process.returncode == 0, words
    assert json.loads(output.splitlines()[-1])["steps"] == 2


def wait_for_a_step(process: "subprocess.Popen[str]", run: Path, before: int) -> None:
    """Until a step is told after so many events."""
    deadline = time.monotonic() + 300
    while not any(e["event"] in ("step", "pace") for e in events(run)[before:]):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def events(run: Path) -> list[dict[str, Any]]:
    """What the run has told so far."""
    log = run / "events.jsonl"
    lines = log.read_text("utf-8").splitlines(keepends=True) if log.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))
