"""The service under load, on this machine and over loopback only: figures L1, L2, L3 and L6 of the platform's bars.

    python -m benchmarks.service [start L1 L2 pages L3 L6] [--seconds 60] [--data DIR]

Starts a service of its own, with a real run that trains meanwhile (niced, as always), measures, prints a table and one
JSON object, and stops everything. Latency is counted from the moment at which a request was due, so that a service that
stalls is not forgiven the requests that it kept from being sent.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

import postil
from postil.events import StepDone
from postil.recipes.launch import read_events
from tests.web.running import Running, run_service

NUM_USERS, NUM_ACCOUNTS, REQUESTS_PER_SECOND = 50, 10, 110
NUM_PAGES, POLL_SECONDS = 200, 2.0
NUM_UPLOADS, UPLOAD_BYTES = 20, 100_000_000
NUM_QUESTIONS = 20
NUM_STARTS = 5
ROWS = "question,answer\n" + "".join(f"What is article {n}?,Article {n} is a teapot of clay.\n" for n in range(60))
LONG_RUN = {"training.epochs": 100, "evaluation.max_answers": 2}


@dataclass
class Seen:
    """What came back.

    Args:
        seconds: of each request, from when it was due.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def summary(self, took_seconds: float) -> dict[str, Any]:
        """Rates and percentiles."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return {
            "requests": len(self.seconds),
            "per_second": round(len(self.seconds) / took_seconds, 1),
            "p50_ms": round(1000 * cuts[49], 1),
            "p95_ms": round(1000 * cuts[94], 1),
            "p99_ms": round(1000 * cuts[98], 1),
            "max_ms": round(1000 * max(self.seconds), 1),
            "statuses": dict(sorted(self.statuses.items())),
            "server_errors": sum(n for status, n in self.statuses.items() if status >= 500),
        }


@dataclass(frozen=True)
class User:
    """An account with a data set and a job."""

    headers: dict[str, str]
    dataset_id: str
    job_id: str


def make_users(running: Running, count: int) -> list[User]:
    """Accounts, each with a small file and a job; the first one's job trains for minutes, the others wait behind it."""
    users = []
    for number in range(count):
        key = running.key(f"user.{number}")
        headers = {"authorization": f"Bearer {key}"}
        with postil.Client(running.address, key) as client, tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "faq.csv"
            file.write_text(ROWS, "utf-8")
            data = client.check(client.upload(file))
            job = client.train(data, settings=LONG_RUN)
        users.append(User(headers, data.id, job.id))
    return users


def first_steps(running: Running) -> dict[str, Any]:
    """From submitting a job of a hundred rows to its first step, and until a client can see a step; five jobs."""
    trains, sees = [], []
    rows = "question,answer\n" + "".join(f"What is article {n}?,Article {n} is a teapot.\n" for n in range(100))
    with postil.Client(running.address, running.key("starter")) as client, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faq.csv"
        file.write_text(rows, "utf-8")
        data = client.check(client.upload(file))
        for seed in range(NUM_STARTS):
            began, due = time.time(), time.perf_counter()
            job = client.train(data, seed=seed, settings={"training.max_steps": 20, "evaluation.max_answers": 0})
            while not client.job(job.id).progress.step:
                time.sleep(0.05)
            sees.append(time.perf_counter() - due)
            events, _ = read_events(running.data / "runs" / job.id)
            trains.append(next(e.at.timestamp() for e in events if isinstance(e, StepDone)) - began)
            assert list(client.watch(job.id))[-1].state == "succeeded"
    return {
        "first_step_s": round(statistics.median(trains), 2),
        "all_first_steps_s": [round(seconds, 2) for seconds in trains],
        "seen_behind_s": round(max(seen - trained for seen, trained in zip(sees, trains, strict=True)), 2),
    }


def wait_until_running(running: Running, user: User) -> None:
    """Waits until the first job trains."""
    ends = time.monotonic() + 120
    while httpx2.get(f"{running.address}/api/jobs/{user.job_id}", headers=user.headers).json()["state"] != "running":
        assert time.monotonic() < ends, "no run has started"
        time.sleep(0.2)


def end_jobs(running: Running, users: list[User]) -> None:
    """A run outlives its service; this one must not disturb what is measured next."""
    for user in reversed(users):
        httpx2.post(f"{running.address}/api/jobs/{user.job_id}/cancel", headers=user.headers, timeout=60)
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        job = httpx2.get(f"{running.address}/api/jobs/{users[0].job_id}", headers=users[0].headers, timeout=60).json()
        if job["has_ended"]:
            return
        time.sleep(0.2)


class Line:
    """One kept connection. As little as HTTP needs: a client that works hard would take the cores that it measures."""

    def __init__(self, address: str) -> None:
        self._host, port = address.removeprefix("http://").split(":")
        self._port = int(port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, str]:
        """Sends a request and reads the whole answer: its status and its ETag."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._reader is not None
        sent = {"host": self._host, "content-length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        told = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        status = int(lines[0].split()[1])
        await self._reader.readexactly(0 if status == 304 else int(told.get("content-length", "0")))
        if told.get("connection") == "close":
            self._writer.close()
        return status, told.get("etag", "")


def mixed_load(running: Running, users: list[User], seconds: float) -> dict[str, Any]:
    """L1: 70 % progress, 20 % lists, 8 % edits, 2 % uploads, at a steady rate, while a run trains.

    Fifty connections of ten accounts; an edit is a new name for a data set, an upload sixty rows that are then checked.
    """
    chance = random.Random(0)

    def choose(user: User) -> tuple[str, str, dict[str, str], bytes]:
        kind = chance.random()
        if kind < 0.70:
            return "GET", f"/api/jobs/{user.job_id}", user.headers, b""
        if kind < 0.90:
            return "GET", chance.choice(["/api/jobs", "/api/datasets", "/api/adapters"]), user.headers, b""
        if kind < 0.98:
            body = json.dumps({"name": f"faq {chance.random():.6f}"}).encode()
            headers = {**user.headers, "content-type": "application/json"}
            return "PATCH", f"/api/datasets/{user.dataset_id}", headers, body
        headers = {**user.headers, "content-type": "application/octet-stream"}
        return "POST", "/api/datasets?file_name=more.csv", headers, ROWS.encode()

    async def load() -> Seen:
        seen, due = Seen(), asyncio.Queue[float | None]()

        async def connection(number: int) -> None:
            line, user = Line(running.address), users[number % len(users)]
            while (moment := await due.get()) is not None:
                status, _ = await line.ask(*choose(user))
                seen.seconds.append(time.perf_counter() - moment)
                seen.statuses[status] += 1

        async def clock() -> None:
            began = time.perf_counter()
            for number in range(int(seconds * REQUESTS_PER_SECOND)):
                moment = began + number / REQUESTS_PER_SECOND
                await asyncio.sleep(max(0.0, moment - time.perf_counter()))
                due.put_nowait(moment)
            for _ in range(NUM_USERS):
                due.put_nowait(None)

        await asyncio.gather(clock(), *(connection(number) for number in range(NUM_USERS)))
        return seen

    began = time.perf_counter()
    return asyncio.run(load()).summary(time.perf_counter() - began)


def open_pages(running: Running, users: list[User], seconds: float, path: str = "/api/jobs/{}") -> dict[str, Any]:
    """L2: two hundred progress pages that ask every two seconds, with the mark of what they know.

    Args:
        path: what they ask for, with a place for the job: what a program reads, or the part of the page itself.
    """
    web = web_process(running)

    async def page(number: int, ends: float, seen: Seen) -> None:
        line, user, mark = Line(running.address), users[number % len(users)], ""
        await asyncio.sleep(POLL_SECONDS * number / NUM_PAGES)
        while time.perf_counter() < ends:
            began = time.perf_counter()
            headers = {**user.headers, **({"if-none-match": mark} if mark else {})}
            status, mark = await line.ask("GET", path.format(user.job_id), headers)
            seen.seconds.append(time.perf_counter() - began)
            seen.statuses[status] += 1
            await asyncio.sleep(max(0.0, POLL_SECONDS - (time.perf_counter() - began)))

    async def load() -> Seen:
        seen, ends = Seen(), time.perf_counter() + seconds
        await asyncio.gather(*(page(number, ends, seen) for number in range(NUM_PAGES)))
        return seen

    before, began = sum(web.cpu_times()[:2]), time.perf_counter()
    seen = asyncio.run(load())
    took = time.perf_counter() - began
    share = (sum(web.cpu_times()[:2]) - before) / took
    return {**seen.summary(took), "pages": NUM_PAGES, "cpu_of_one_core": round(share, 3)}


def large_uploads(running: Running) -> dict[str, Any]:
    """L3: twenty files of 100 MB at once, from four accounts; the web process must not grow by what it passes on."""
    web, keys = web_process(running), [running.key(f"loader.{n}") for n in range(4)]
    before, most, stop = web.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            most[0] = max(most[0], web.memory_info().rss)

    def send(number: int) -> tuple[bool, str, str]:
        headers = {"authorization": f"Bearer {keys[number % 4]}", "content-type": "application/octet-stream"}
        headers["content-length"] = str(UPLOAD_BYTES)
        digest = hashlib.sha256()
        connection = http.client.HTTPConnection(running.address.removeprefix("http://"), timeout=300)
        path = f"/api/datasets?file_name=large-{number}.bin"
        connection.request("POST", path, body=_pieces(number, digest), headers=headers)
        reply = connection.getresponse()
        found = json.loads(reply.read())
        connection.close()
        is_right = reply.status == 201 and found["sha256"] == digest.hexdigest()
        return is_right, keys[number % 4], found.get("id", "")

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    with ThreadPoolExecutor(NUM_UPLOADS) as pool:
        sent = list(pool.map(send, range(NUM_UPLOADS)))
    took = time.perf_counter() - began
    stop.set()
    watcher.join()
    for _, key, dataset_id in sent:
        httpx2.delete(
            f"{running.address}/api/datasets/{dataset_id}", headers={"authorization": f"Bearer {key}"}, timeout=60
        )
    return {
        "uploads": NUM_UPLOADS,
        "megabytes_each": UPLOAD_BYTES / 1e6,
        "right_sha256": sum(is_right for is_right, _, _ in sent),
        "seconds": round(took, 1),
        "megabytes_per_second": round(NUM_UPLOADS * UPLOAD_BYTES / 1e6 / took, 1),
        "rss_before_mb": round(before / 1e6, 1),
        "rss_growth_mb": round((most[0] - before) / 1e6, 1),
    }


def _pieces(number: int, digest: Any) -> Iterator[bytes]:
    """A hundred megabytes that no reader takes for a table, different for each file."""
    piece = b"\0" + random.Random(number).randbytes(999_999)
    for _ in range(UPLOAD_BYTES // len(piece)):
        digest.update(piece)
        yield piece


def answer_overhead(running: Running) -> dict[str, Any]:
    """L6: the first piece of a streamed answer through /v1, against the same question put to the private process."""
    place = json.loads((running.data / "serving.json").read_text("utf-8"))
    ways = {
        "web": (running.address, running.key("asker")),
        "private": (place["address"], place["token"]),
    }
    first: dict[str, list[float]] = {name: [] for name in ways}
    with httpx2.Client(timeout=60, trust_env=False) as client:
        for round_number in range(NUM_QUESTIONS + 3):
            for name, (address, token) in ways.items():
                seconds = _first_piece(client, address, token)
                if round_number >= 3:
                    first[name].append(seconds)
    overhead = [web - private for web, private in zip(first["web"], first["private"], strict=True)]
    return {
        "first_piece_web_ms": round(1000 * statistics.median(first["web"]), 1),
        "first_piece_private_ms": round(1000 * statistics.median(first["private"]), 1),
        "overhead_ms": round(1000 * statistics.median(overhead), 1),
        "pairs": NUM_QUESTIONS,
    }


def _first_piece(client: httpx2.Client, address: str, token: str) -> float:
    body = {"model": "starter", "stream": True, "max_tokens": 4, "temperature": 0}
    body |= {"messages": [{"role": "user", "content": "What is article 5?"}]}
    headers = {"authorization": f"Bearer {token}"}
    began = time.perf_counter()
    with client.stream("POST", f"{address}/v1/chat/completions", json=body, headers=headers) as reply:
        pieces = reply.iter_raw()
        next(pieces)
        seconds = time.perf_counter() - began
        for _ in pieces:
            pass
    return seconds


def web_process(running: Running) -> psutil.Process:
    """The web process among the children of `postil web`."""
    children = psutil.Process(running.process.pid).children()
    return next(child for child in children if "postil.web" in child.cmdline())


BARS = {
    "start": "a job of 100 rows trains <= 3 s after it was submitted, seen <= 2 s later",
    "L1": "100 requests/s, p95 < 300 ms, p99 < 1 s, no 5xx",
    "L2": "CPU < 50 % of one core",
    "pages": "the same, each asking for the changing part of its page: CPU <= 50 % of one core",
    "L3": "RSS growth < 100 MB, every sha256 right",
    "L6": "overhead < 50 ms",
}


def main() -> None:
    """Measures what is asked for, everything by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*BARS, []], default=[])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    wanted = given.figures or list(BARS)
    found: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"max_account_bytes": 3 << 30}
        with run_service(given.data or Path(folder) / "data", **settings) as running:
            found["idle_web_rss_mb"] = round(web_process(running).memory_info().rss / 1e6, 1)
            if "L6" in wanted:  # before anything trains
                found["L6"] = answer_overhead(running)
            if "start" in wanted:
                found["start"] = first_steps(running)
            if {"L1", "L2", "pages"} & set(wanted):
                users = make_users(running, NUM_ACCOUNTS)
                wait_until_running(running, users[0])
            if "L1" in wanted:
                found["L1"] = mixed_load(running, users, given.seconds)
            if "L2" in wanted:
                found["L2"] = open_pages(running, users, min(given.seconds, 30.0))
            if "pages" in wanted:
                found["pages"] = open_pages(running, users, min(given.seconds, 30.0), "/jobs/{}/progress")
            if {"L1", "L2", "pages"} & set(wanted):
                end_jobs(running, users)
            if "L3" in wanted:
                found["L3"] = large_uploads(running)
    for name in wanted:
        print(f"{name}  {BARS[name]}")
        print("".join(f"    {key:<24}{value}\n" for key, value in found[name].items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
