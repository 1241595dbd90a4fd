"""T16 and T17: what a run's process cannot reach any more, tried from within one that has given up its rights."""

import json
import os
import socket
import subprocess
import sys

import msgspec
import pytest

from postil.config import RunConfig
from postil.data.files.landlock import landlock_version
from postil.recipes.launch import RunSpec, run_environment

PROBE = """
import json, os, socket, subprocess, sys
from pathlib import Path
import msgspec
from postil.recipes.confinement import give_up_rights
from postil.recipes.launch import RunSpec

spec = msgspec.json.decode(sys.argv[1], type=RunSpec)
job, secret, port = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
give_up_rights(job, spec)
found = {}

def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except BaseException as error:
        found[name] = type(error).__name__

def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)

attempt("own file", lambda: (job / "note").write_text("mine"))
attempt("own folder", lambda: (job / "scratch" / "deep").mkdir())
attempt("data", lambda: Path(spec.readable[0]).read_text())
attempt("change data", lambda: Path(spec.readable[0]).write_text("changed"))
attempt("delete data", lambda: Path(spec.readable[0]).unlink())
attempt("other job", lambda: secret.read_text())
attempt("list others", lambda: os.listdir(secret.parent))
attempt("database", lambda: open(secret.parent / "postil.db", "rb").read())
attempt("write outside", lambda: (secret.parent / "new").write_text("x"))
attempt("passwd", lambda: open("/etc/passwd").read())
attempt("connect", lambda: socket.create_connection(("127.0.0.1", port), 2))
attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
attempt("cat", lambda: call("cat", str(secret)))
attempt("shell", lambda: call("/bin/sh", "-c", "true"))
attempt("python child", lambda: call(sys.executable, "-S", "-c", "pass"))
attempt("python child reads", lambda: call(sys.executable, "-S", "-c", f"open({str(secret)!r}).read()"))
attempt("signal", lambda: os.kill(os.getppid(), 0))
attempt("memory", lambda: bytearray(spec.memory_bytes + (64 << 20)))
attempt("little memory", lambda: bytearray(1 << 20))
import resource
names = ("AS", "NPROC", "FSIZE", "CORE", "NOFILE")
found["limits"] = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in names}
found["nice"] = os.nice(0)
found["is_idle"] = os.sched_getscheduler(0) == os.SCHED_IDLE
found["tmp"] = os.environ["TMPDIR"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the probe reached, in a data folder with another job and a database."""
    data_dir = tmp_path_factory.mktemp("data_dir")
    job, other = data_dir / "runs" / "job_a", data_dir / "runs" / "job_b"
    for folder in (job, other):
        folder.mkdir(parents=True)
    data, secret = data_dir / "original.csv", data_dir / "secret.key"
    for path in (data, secret, data_dir / "postil.db", other / "spec.json"):
        path.write_text("canary", "utf-8")
    spec = RunSpec(
        job_id="job_a",
        attempt=1,
        config=RunConfig().model_dump(mode="json"),
        nice=7,
        memory_bytes=512 << 20,
        readable=(str(data),),
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = [msgspec.json.encode(spec).decode(), str(job), str(secret), str(port)]
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE, *arguments],
            capture_output=True,
            text=True,
            env=run_environment(spec),
            check=True,
            timeout=120,
        )
    assert data.read_text("utf-8") == "canary"
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_what_a_run_needs_works(found: dict[str, object]) -> None:
    for name in ("own file", "own folder", "data", "little memory"):
        assert found[name] == "done", (name, found)


@pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")
def test_other_files_the_database_and_the_network_are_out_of_reach(found: dict[str, object]) -> None:
    for name in ("other job", "list others", "database", "write outside", "passwd", "change data", "delete data"):
        assert found[name] == "PermissionError", (name, found)
    assert found["cat"] != "done" and found["shell"] != "done"
    if landlock_version() >= 4:
        assert found["connect"] == "PermissionError" and found["listen"] == "PermissionError"
    if landlock_version() >= 6:
        assert found["signal"] == "PermissionError"


@pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")
def test_a_python_child_may_be_started_and_is_as_confined(found: dict[str, object]) -> None:
    assert found["python child"] == "done" and found["python child reads"] == "RuntimeError"


def test_memory_processes_and_files_are_bounded(found: dict[str, object]) -> None:
    assert found["memory"] == "MemoryError"
    limits = found["limits"]
    assert isinstance(limits, dict)
    assert 0 < limits["NPROC"] < 100_000 and 0 < limits["FSIZE"] <= 64 << 30
    assert limits["CORE"] == 0 and limits["NOFILE"] <= 4096 and limits["AS"] > 512 << 20
    assert found["nice"] == os.nice(0) + 7 or found["nice"] == 7
    assert found["is_idle"]
    assert str(found["tmp"]).endswith("scratch")
