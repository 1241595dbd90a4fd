import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from postil.data.files import sandbox
from postil.data.files.sandbox import Limits, check_file, limits_in_force, run_in_child
from postil.errors import DataError

QUICK = Limits(cpu_seconds=2, wait_seconds=20)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "CHILD_MODULE", "tests.data.files.odd_child")


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("job", "key", "reason"),
    [
        pytest.param(
            "spin", "data.reader_too_slow", "", marks=pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
        ),
        ("abort", "data.reader_out_of_memory", ""),
        ("exit", "data.reader_died", "exit code 3"),
        ("garbage", "data.reader_died", "unknown answer"),
        ("wrong", "data.reader_died", "ZeroDivisionError"),
        ("no such job", "data.reader_died", "KeyError"),
    ],
)
def test_every_way_to_die_is_a_plain_error(tmp_path: Path, job: str, key: str, reason: str) -> None:
    path = tmp_path / "a.xls"
    path.write_text("x")
    with pytest.raises(DataError) as caught:
        list(run_in_child(job, {"path": str(path)}, QUICK))
    assert caught.value.key == key
    assert reason in caught.value.message and str(path) in caught.value.message and caught.value.hint


@pytest.mark.usefixtures("odd")
@pytest.mark.skipif(not limits_in_force()["memory"], reason="this system cannot limit memory")
def test_memory_is_limited(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(run_in_child("eat", {"path": str(tmp_path)}, QUICK))
    assert caught.value.key == "data.reader_out_of_memory"


@pytest.mark.usefixtures("odd")
def test_what_came_before_the_end_is_not_lost_and_waiting_is_bounded(tmp_path: Path) -> None:
    frames, started = [], time.monotonic()
    with pytest.raises(DataError) as caught:
        for frame in run_in_child("sleep", {"path": str(tmp_path)}, Limits(wait_seconds=3)):
            frames.append(frame)
    assert (frames, caught.value.key) == (["first"], "data.reader_too_slow")
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("odd")
def test_a_caller_that_stops_listening_leaves_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Any] = []
    start = sandbox.subprocess.Popen
    monkeypatch.setattr(sandbox.subprocess, "Popen", lambda *a, **k: children.append(start(*a, **k)) or children[-1])
    frames = run_in_child("sleep", {"path": str(tmp_path)})
    assert next(frames) == "first"
    frames.close()
    assert children[0].poll() is not None


@pytest.mark.usefixtures("odd")
def test_prints_of_libraries_do_not_disturb(tmp_path: Path) -> None:
    assert list(run_in_child("noise", {"path": str(tmp_path)}, QUICK)) == ["clean"]


@pytest.mark.usefixtures("odd")
@pytest.mark.skipif(not limits_in_force()["network"], reason="needs a kernel with Landlock")
@pytest.mark.parametrize("has_scratch", [False, True])
def test_the_child_can_reach_nothing_but_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_scratch: bool
) -> None:
    monkeypatch.setenv("POSTIL_TEST_SECRET", "canary")
    own, other, scratch = tmp_path / "own", tmp_path / "other", tmp_path / "scratch"
    own.write_text("mine")
    other.write_text("yours")
    scratch.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = {"path": str(own), "other": str(other), "port": server.getsockname()[1]}
        arguments |= {"scratch": str(scratch)} if has_scratch else {}
        (found,) = run_in_child("probe", arguments, Limits(file_bytes=1000 if has_scratch else 0))
    denied = "PermissionError"
    assert found == {
        "own": "ok",
        "other": denied,
        "write": "ok" if has_scratch else denied,
        "write_much": "OSError" if has_scratch else denied,
        "overwrite": denied,
        "connect": denied,
        "program": denied,
        "input": "",
        "secret": "",
    }
    assert own.read_text() == "mine"


def test_a_whole_file_is_checked_in_the_child(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": "a" if i % 2 else ""}) + "\n" for i in range(8)))
    report = check_file(path, language="zh")
    assert (report["file"], report["kept"], report["dropped"]) == ("a.jsonl", 4, 4)
    missing = [p for p in report["problems"] if p["code"] == "missing_answer"]
    assert [p["row"] for p in missing] == [1, 3, 5, 7] and "答案" in missing[0]["message"]


def test_the_check_says_what_reading_would_say(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        check_file(path)
    assert caught.value.key == "data.empty_file"
