"""`torchrun ... -m postil train`: two workers make one adapter, and a signal stops both after a checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
TOGETHER = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
ROWS = "question,answer\n" + "".join(f"What is item {n}?,It is number {n} of our shop.\n" for n in range(40))


def start(folder: Path, out: str, steps: int, *more: str, together: bool = True) -> "subprocess.Popen[str]":
    """`postil train` on the starter, by two workers or by one."""
    (folder / "shop.csv").write_text(ROWS, "utf-8")
    settings = (f"training.max_steps={steps}", "training.save_every=2", "evaluation.max_answers=2", "model.dtype=fp32")
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
    steps = [json.loads(line) for line in (tmp_path / "two" / "events.jsonl").read_text("utf-8").splitlines()]
    assert [e["step"] for e in steps if e["event"] in ("step", "pace")] == [1, 2, 3, 4]  # told by the first alone


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.timeout(600)
def test_a_signal_stops_both_and_the_run_goes_on(tmp_path: Path) -> None:
    process, deadline = start(tmp_path, "run", 4000), time.monotonic() + 300
    while not list((tmp_path / "run" / "checkpoints").glob("step-*")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode != 0
    state = json.loads(newest(tmp_path / "run" / "checkpoints").joinpath("state.json").read_text("utf-8"))
    again = start(tmp_path, "run", 4000, "--resume")
    stop_at, deadline = state["step"] + 2, time.monotonic() + 300
    while number(newest(tmp_path / "run" / "checkpoints")) < stop_at and time.monotonic() < deadline:
        assert again.poll() is None, again.communicate()[1]
        time.sleep(0.2)
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=120)
    assert number(newest(tmp_path / "run" / "checkpoints")) >= stop_at


def number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def newest(checkpoints: Path) -> Path:
    return max(checkpoints.glob("step-*"), key=number)
