"""`postil web`: three processes that are kept alive, one port that stays, and doors that are shut by default."""

import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import httpx2
import psutil
import pytest

from postil.cli.children import Child, Process, watch
from postil.cli.house import House, is_loopback, serving_spec, write_private
from postil.cli.screen import open_screen
from postil.platform.accounts.accounts import create_account
from postil.platform.settings import load_settings
from tests.web.running import Running, run_service, wait_until_ready


def children_of(running: Running) -> dict[str, psutil.Process]:
    """The processes of a service by name."""
    names = ("postil.web", "postil.platform.supervisor", "postil.serving")
    found = psutil.Process(running.process.pid).children()
    return {name: child for child in found for name in names if name in child.cmdline()}


def test_what_is_killed_comes_back_on_the_same_port(tmp_path: Path) -> None:
    with run_service(tmp_path / "data") as running:
        before = children_of(running)
        assert len(before) == 3
        with running.client("anna") as browser:
            for child in before.values():
                child.send_signal(signal.SIGKILL)
            # the socket is open all the while: a new connection waits for the next web process and does not fail
            cookies = dict(browser.cookies)
            later = httpx2.get(f"{running.address}/api/account", cookies=cookies, timeout=60, trust_env=False)
            assert later.json()["name"] == "anna"
            wait_until_ready(running.address, answers=True)
            after = children_of(running)
            assert set(after) == set(before)
            assert not {child.pid for child in after.values()} & {child.pid for child in before.values()}
            reply = httpx2.post(
                f"{running.address}/v1/chat/completions",
                cookies=cookies,
                timeout=60,
                json={"model": "starter", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]},
            )
            assert reply.status_code == 200
        children = list(after.values())
    assert running.process.returncode == 0
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert len(gone) == 3 and not alive
    assert not (running.data / "serving.json").exists()


def test_nothing_but_runs_outlives_a_killed_parent(tmp_path: Path) -> None:
    with run_service(tmp_path / "data", answers=False) as running:
        children = list(children_of(running).values())
        assert len(children) == 2
        running.process.kill()
        gone, alive = psutil.wait_procs(children, timeout=30)
        assert len(gone) == 2 and not alive


def run_web(data: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Runs `postil web` to its end."""
    command = [sys.executable, "-m", "postil", "web", "--data", str(data), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_other_addresses_want_an_admin(tmp_path: Path) -> None:
    done = run_web(tmp_path, "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 64
    assert "There is no admin yet" in done.stderr
    assert f"postil admin create NAME --data {tmp_path}" in done.stderr


def test_a_port_in_use_is_told_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_web(tmp_path, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 73
    assert "Cannot listen on 127.0.0.1" in done.stderr


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def sleeper(code: str) -> Process:
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_child_that_dies_is_started_again_ever_more_slowly() -> None:
    ends: list[tuple[float, int]] = []
    child = Child(
        "short", lambda: sleeper("raise SystemExit(1)"), lambda _, code: ends.append((time.monotonic(), code))
    )
    watch([child], lambda: len(ends) == 3, tick_seconds=0.01)
    assert [code for _, code in ends] == [1, 1, 1]
    waits = [later - sooner for (sooner, _), (later, _) in pairwise(ends)]
    assert waits[0] >= 0.5 and waits[1] >= 1.0


@pytest.mark.parametrize("code", [64, 69])
def test_a_child_whose_settings_are_wrong_is_not(code: int) -> None:
    ends: list[int] = []
    other = Child("long", lambda: sleeper("import time; time.sleep(60)"), lambda _, code: ends.append(code))
    child = Child("wrong", lambda: sleeper(f"raise SystemExit({code})"), lambda _, code: ends.append(code))
    watch([other, child], lambda: False, tick_seconds=0.01)
    assert ends == [code]
    assert child.has_given_up
    assert other.process is not None and other.process.returncode == -signal.SIGTERM


def test_what_serving_is_told_holds_no_secret(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    write_private(tmp_path / "spec.json", serving_spec(settings, 7))
    text = (tmp_path / "spec.json").read_text()
    assert '"control_token_fd": 7' in text and "token_file" not in text
    assert (tmp_path / "spec.json").stat().st_mode & 0o077 == 0


def test_without_serving_the_service_works_and_says_so(tmp_path: Path) -> None:
    with run_service(tmp_path / "data", answers=False) as running, running.client("anna") as browser:
        assert browser.get("/readyz").json() == {
            "is_ready": True,
            "database": True,
            "storage": True,
            "supervisor": True,
            "answers": False,
        }
        reply = browser.post(
            "/v1/chat/completions", json={"model": "starter", "messages": [{"role": "user", "content": "hello"}]}
        )
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) > 0
        assert httpx2.get(f"{running.address}/healthz").json() == {"status": "ok"}


def test_a_house_says_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from postil.platform.service import open_service

    settings = load_settings(tmp_path)
    service = open_service(settings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        House(settings, listening, open_screen()).greet(service)
    said = capsys.readouterr().out
    assert "Postil is at http://127.0.0.1:" in said
    assert str(tmp_path) in said
    assert "/links/" in said  # how the first admin comes to be
    assert "open this second link first" in said and "Next: open the second link" in said
    create_account(service, "ann", "correct horse battery", role="admin")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        house = House(settings, listening, open_screen())
        house.greet(service)
        address = house.address
    said = capsys.readouterr().out
    assert "/links/" not in said and f"Next: open {address} in a browser" in said
    service.database.engine.dispose()
