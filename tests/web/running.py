"""A whole service as a user starts it: `postil web` in a process of its own, with real runs and a real base."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

PASSWORD = "correct horse battery"
START_SECONDS, STOP_SECONDS = 120, 60


@dataclass
class Running:
    """A service that runs.

    Args:
        process: `postil web` itself; the other three are its children.
    """

    address: str
    data: Path
    process: subprocess.Popen[bytes]

    @contextmanager
    def client(self, name: str) -> Iterator[httpx2.Client]:
        """A browser in which an account of this name is signed in; it is made where there is none."""
        with httpx2.Client(base_url=self.address, timeout=120, trust_env=False) as client:
            body = {"name": name, "password": PASSWORD}
            if client.post("/api/sign-in", json=body).status_code != 200:
                assert client.post("/api/accounts", json=body).status_code == 201
            yield client

    def key(self, name: str) -> str:
        """A new key of this account."""
        with self.client(name) as client:
            return str(client.post("/api/keys", json={"name": "test"}).json()["secret"])


@contextmanager
def run_service(data: Path, *options: str, answers: bool = True, **settings: object) -> Iterator[Running]:
    """Starts a service and waits until it is ready.

    Args:
        options: of `postil web`.
        settings: go into the environment.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POSTIL_LANG": "en"}
    environment |= {f"POSTIL_{name.upper()}": str(value) for name, value in settings.items()}
    if not answers:
        options = (*options, "--no-serving")
    command = [sys.executable, "-m", "postil", "web", "--data", str(data), "--port", "0", "--json", *options]
    with (data.parent / f"{data.name}.out").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        wait_until_ready(address, answers)
        yield Running(address, data, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def wait_until_ready(address: str, answers: bool) -> None:
    """Waits for the parts of a service to come up."""
    ends = time.monotonic() + START_SECONDS
    while True:
        try:
            ready = httpx2.get(f"{address}/readyz", timeout=10, trust_env=False).json()
        except httpx2.TransportError:
            ready = {}
        if ready.get("is_ready") and (ready["answers"] or not answers):
            return
        assert time.monotonic() < ends, f"not ready after {START_SECONDS} s: {ready}"
        time.sleep(0.2)
