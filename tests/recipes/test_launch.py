"""The contract of a run's folder: the lock, the log that is read while it is written, the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from postil.config import RunConfig
from postil.data.examples import Example
from postil.errors import TryAgainError
from postil.events import PhaseStarted, encode_event, ignore
from postil.problems import Place
from postil.recipes.launch import (
    RunExit,
    RunSpec,
    find_exit,
    find_pid,
    holds_lock,
    prepared_attempt,
    read_events,
    read_spec,
    run_environment,
    signal_run,
    start_run,
    write_exit,
)
from postil.recipes.row_tokens import find_row_tokens, write_row_tokens
from postil.recipes.run_folder import open_run, recorded
from postil.recipes.run_lock import LOCK_NAME, is_alive, run_locked, take_run_lock


def spec_for(folder: Path, attempt: int = 1, **settings: object) -> RunSpec:
    config = RunConfig().replace({"training.max_steps": 5, "training.learning_rate": 0.02, **settings})
    return RunSpec(job_id=folder.name, attempt=attempt, kind="fake", config=config.model_dump(mode="json"))


def wait_for_end(folder: Path, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while is_alive(folder):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_in_its_own_process_keeps_the_contract(tmp_path: Path) -> None:
    folder = tmp_path / "job_1"
    pid = start_run(folder, spec_for(folder))
    assert is_alive(folder) and holds_lock(pid, folder)
    with pytest.raises(TryAgainError, match="Another run"), prepared_attempt(folder, spec_for(folder, 2)):
        pass
    assert read_spec(folder).attempt == 1
    wait_for_end(folder)
    assert find_exit(folder, 1) == RunExit(code=0, cause="finished", step=5)
    events, offset = read_events(folder)
    assert offset == (folder / "events.jsonl").stat().st_size
    assert type(events[-1]).__name__ == "RunFinished"
    times = [event.monotonic_seconds for event in events]
    assert times == sorted(times) and times[0] > 0


def test_sigterm_saves_and_the_next_attempt_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "job_1"
    start_run(folder, spec_for(folder, **{"training.max_steps": 400}))
    while not read_events(folder)[0][3:]:
        time.sleep(0.02)
    pid = find_pid(folder, 1)
    assert pid is not None and signal_run(pid, folder, signal.SIGTERM)
    wait_for_end(folder)
    ended = find_exit(folder, 1)
    assert ended is not None and (ended.code, ended.cause) == (143, "stopped") and ended.step > 0
    start_run(folder, spec_for(folder, 2, **{"training.max_steps": ended.step + 2}))
    wait_for_end(folder)
    assert find_exit(folder, 2) == RunExit(code=0, cause="finished", step=ended.step + 2)


def test_no_signal_reaches_a_process_that_is_not_the_runs(tmp_path: Path) -> None:
    folder = tmp_path / "job_1"
    folder.mkdir()
    (folder / LOCK_NAME).touch()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not signal_run(bystander.pid, folder, signal.SIGKILL)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_run_that_opens_and_closes_files_is_found_every_time(tmp_path: Path) -> None:
    lock = take_run_lock(tmp_path)
    code = "while True:\n    [open('/dev/null') for _ in range(20)]"
    child = subprocess.Popen([sys.executable, "-c", code], pass_fds=(lock,))
    os.close(lock)
    try:
        assert all(holds_lock(child.pid, tmp_path) for _ in range(300))
    finally:
        child.kill()
        child.wait()


def test_the_log_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    line = encode_event(PhaseStarted(phase="read"))
    log = tmp_path / "events.jsonl"
    assert read_events(tmp_path) == ([], 0)
    log.write_bytes(line + b'{"event":"something new","x":1}\n' + line[:20])
    events, offset = read_events(tmp_path)
    assert len(events) == 1 and offset == log.stat().st_size - 20
    with log.open("ab") as file:
        file.write(line[20:])
    events, offset = read_events(tmp_path, offset)
    assert len(events) == 1 and offset == log.stat().st_size
    assert read_events(tmp_path, offset) == ([], offset)


@pytest.mark.parametrize("left", [b"", b'{"event":"pha', b"x" * 200_000])
def test_a_line_that_a_killed_run_left_unfinished_is_cut_off(tmp_path: Path, left: bytes) -> None:
    config = RunConfig().replace({"data.file": "q.csv", "output.dir": str(tmp_path / "run")})
    folder, _ = open_run(config, resume=False)
    whole = encode_event(PhaseStarted(phase="read"))
    folder.events.write_bytes(whole + left)
    with recorded(folder, ignore, resume=True) as report:
        report(PhaseStarted(phase="load"))
    lines = folder.events.read_bytes().splitlines()
    assert len(lines) == 2 and lines[0] + b"\n" == whole


def test_two_that_go_on_in_one_folder_refuse_each_other(tmp_path: Path) -> None:
    config = RunConfig().replace({"data.file": "q.csv", "output.dir": str(tmp_path / "run")})
    folder, _ = open_run(config, resume=False)
    with recorded(folder, ignore):
        with pytest.raises(TryAgainError, match="Another run") as caught, recorded(folder, ignore, resume=True):
            pass
        with pytest.raises(TryAgainError, match="Another run"):  # nor is a run that lives deleted
            open_run(config.replace({"output.force": True}), resume=False)
        assert folder.settings.exists()
    assert caught.value.exit_code == 75
    with recorded(folder, ignore, resume=True):
        pass


def test_the_lock_goes_with_its_holder(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    with run_locked(tmp_path):
        assert is_alive(tmp_path)
        with pytest.raises(TryAgainError):
            take_run_lock(tmp_path)
    assert not is_alive(tmp_path)
    lock = take_run_lock(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    os.close(lock)
    assert is_alive(tmp_path)
    child.kill()
    child.wait()
    assert not is_alive(tmp_path)


def test_an_end_that_was_not_written_whole_is_none(tmp_path: Path) -> None:
    (tmp_path / "attempts" / "1").mkdir(parents=True)
    assert find_exit(tmp_path, 1) is None
    (tmp_path / "attempts" / "1" / "exit.json").write_text('{"code": 0, "cau', "utf-8")
    assert find_exit(tmp_path, 1) is None
    write_exit(tmp_path, 1, RunExit(code=65, cause="user", step=3))
    assert find_exit(tmp_path, 1) == RunExit(code=65, cause="user", step=3)


def test_nothing_secret_reaches_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setenv("POSTIL_DATABASE_URL", "postgresql://canary")
    found = run_environment()
    assert "canary" not in "".join(found.values()) and found["HF_HUB_OFFLINE"] == "1"
    assert found["CUDA_VISIBLE_DEVICES"] == ""


def test_tokens_of_rows_and_passes(tmp_path: Path) -> None:
    assert find_row_tokens(tmp_path) is None
    rows = [("a", 1, 5), ("a", 2, 3), ("a", 2, 4), ("a", 3, 2)]
    examples = [Example(Place(file, row), (1,) * n, (1,) * n) for file, row, n in rows]
    config = RunConfig().replace({"training.batch_rows": 2}).training
    write_row_tokens(tmp_path, examples, config)
    found = find_row_tokens(tmp_path)
    assert found is not None and found.row_tokens == [5, 7, 2] and found.steps_per_pass == 2
    assert found.passes(3) == msgspec.convert(1.5, float)
