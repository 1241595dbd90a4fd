"""Names, identifiers and addresses that would do harm elsewhere: here they are text (T8, T14, T15, T19-T22)."""

import io
import json
import logging
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from postil.platform.administration import set_limits
from postil.platform.datasets.checks import check_dataset
from postil.platform.redaction import Redaction
from postil.platform.service import Service
from postil.web.logs import JsonLines
from tests.platform.dataset_lives import pairs
from tests.web.belongings import CSV, upload
from tests.web.conftest import PASSWORD, NewClient, error_of

PATHS = [
    "../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\boot.ini",
    "....//....//etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "a/../../b",
    ".",
    "..",
    "~root/.ssh/id_rsa",
    "CON",
    "nul.csv",
    "file.csv::$DATA",
    "a\x00b.csv",
    "\u202egnp.exe.csv",
    "x" * 900,
    "ds_" + "a" * 16 + "/../../postil.db",
    "postil.db",
    "secret.key",
    "storage/datasets",
    "file:///etc/passwd",
]
COMMANDS = [
    "; touch owned",
    "$(touch owned)",
    "`touch owned`",
    "| touch owned",
    "&& touch owned",
    "name\n--flag",
    "--help",
    "-rf",
    "{{7*7}}",
    "{% for x in range(999999999) %}{% endfor %}",
    "${jndi:ldap://127.0.0.1/a}",
    "<img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "'; DROP TABLE accounts; --",
    "=cmd|' /C calc'!A0",
]
URLS = [
    "http://169.254.169.254/latest/meta-data/",
    "http://127.0.0.1:22/",
    "http://localhost:6379/",
    "http://[::1]/",
    "http://0x7f000001/",
    "http://2130706433/",
    "https://evil.example/model",
    "ftp://evil.example/a",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70/_x",
    "dict://127.0.0.1:11211/stat",
    "//evil.example/a",
    "http:evil.example",
    "http://evil.example@127.0.0.1/",
    "jar:http://evil.example!/",
    "s3://bucket/key",
    "hf://org/model",
    "git+https://evil.example/x.git",
    "data:text/plain,hello",
    "\\\\evil.example\\share",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any connection to anywhere fails the test."""
    reached: list[object] = []
    connect = socket.socket.connect

    def note(self: socket.socket, address: object) -> None:
        reached.append(address)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", note)
    yield
    assert not reached


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_file_name_is_text(anna: TestClient, service: Service, tmp_path: Path) -> None:
    outside = files_of(tmp_path) - files_of(service.settings.data_dir)
    made = set()
    for name in [*PATHS, *COMMANDS]:
        reply = anna.post("/api/datasets", params={"file_name": name}, content=pairs(), headers=CSV)
        assert reply.status_code == 201, reply.text
        shown = reply.json()
        assert not any(ord(letter) < 32 for letter in shown["file_name"])
        assert "/" not in shown["file_name"] and "\\..\\" not in shown["file_name"]
        assert shown["file_name"] == anna.get(f"/api/datasets/{shown['id']}").json()["file_name"]
        made.add(("storage", "datasets", shown["id"]))
    assert files_of(tmp_path) - files_of(service.settings.data_dir) == outside
    storage = service.settings.data_dir / "storage"
    assert {path.relative_to(service.settings.data_dir).parts[:3] for path in files_of(storage)} == made


@pytest.mark.parametrize("name", ["../../../etc/passwd", "name\n--flag", "$(touch owned).csv"])
def test_a_corrected_file_is_called_harmlessly(anna: TestClient, service: Service, name: str) -> None:
    dataset_id = anna.post("/api/datasets", params={"file_name": name}, content=pairs(), headers=CSV).json()["id"]
    check_dataset(service, dataset_id)
    corrected = anna.get(f"/api/datasets/{dataset_id}/file")
    assert corrected.status_code == 200, corrected.text
    header = corrected.headers["content-disposition"]
    assert header.startswith("attachment") and "\n" not in header and "/" not in header
    assert corrected.content.splitlines()[0] == b"question,answer"


READS = ("datasets/{}", "datasets/{}/report", "jobs/{}", "jobs/{}/events", "adapters/{}", "adapters/{}/download")


def test_an_identifier_is_looked_up_and_never_a_path(anna: TestClient) -> None:
    for name in {*PATHS, *COMMANDS, *URLS} - {".", ".."}:  # these two a client resolves by itself
        part = quote(name, safe="")
        for path in READS:
            reply = anna.get("/api/" + path.format(part))
            assert reply.status_code in (404, 422), (path, name, reply.status_code)
            assert error_of(reply)["code"].startswith(("platform.", "web."))  # type: ignore[attr-defined]
        assert anna.get(f"/v1/models/{part}").status_code == 404
        assert anna.get(f"/api/bases/{part}").status_code in (404, 422)


@pytest.mark.parametrize("text", [*COMMANDS[::3], *URLS], ids=lambda n: repr(n[:20]))
def test_no_field_is_an_address_or_a_command(anna: TestClient, service: Service, text: str) -> None:
    dataset_id = anna.post("/api/uploads", json={"file_name": text, "name": "data"}).json()["id"]
    tries = [
        anna.patch(f"/api/datasets/{dataset_id}", json={"name": text}),
        anna.post("/api/preview", json={"dataset_id": text}),
        anna.post("/api/preview", json={"dataset_id": dataset_id, "base": text}),
        anna.post("/api/jobs", json={"dataset_id": dataset_id, "base": text, "name": text}),
        anna.post("/api/bases/download", json={"name": text}),
        anna.put(f"/api/aliases/{quote(text, safe='')}", json={"adapter_id": text}),
        anna.post("/v1/chat/completions", json={"model": text, "messages": [{"role": "user", "content": text}]}),
        anna.post("/api/keys", json={"name": text}),
        anna.post("/api/links", json={"token": text, "new_password": PASSWORD}),
    ]
    assert all(reply.status_code < 500 or reply.status_code == 503 for reply in tries), [r.text for r in tries]
    assert all(reply.status_code in (401, 404, 409, 422) for reply in tries[1:7]), [r.text for r in tries]


SETTINGS: list[dict[str, object]] = [
    {"model.base": "/etc"},
    {"model.device": "cuda"},
    {"output.dir": "/tmp/owned"},
    {"output.trackers": ["wandb"]},
    {"data.file": "/etc/passwd"},
    {"data.overlay": "/etc/passwd"},
    {"training.epochs": "!!python/object/apply:os.system ['touch owned']"},
    {"training.epochs": 1e9},
    {"training.epochs": -1},
    {"training.seed": 5},
    {"adapter.rank": "16; touch owned"},
    {"adapter.target_modules": "/etc/passwd"},
    {"__class__": "x"},
    {"data.system": "x" * 100_000},
    {"training": {"epochs": 3}},
    {"": 1},
]


def test_settings_from_outside_are_a_list(anna: TestClient, service: Service) -> None:
    dataset_id = upload(anna, service)
    for settings in SETTINGS:
        reply = anna.post("/api/jobs", json={"dataset_id": dataset_id, "settings": settings})
        assert reply.status_code == 422, (settings, reply.text)
    assert anna.get("/api/jobs").json()["jobs"] == []


def test_logs_keep_to_one_line_and_to_themselves(app: FastAPI, new_client: NewClient) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    handler.addFilter(Redaction())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        client = new_client("anna")
        secret = client.post("/api/keys", json={"name": "k"}).json()["secret"]
        program = new_client(headers={"authorization": f"Bearer {secret}"})
        program.get("/api/keys/%0a%7b%22level%22%3a%22fake%22%7d%1b%5b31m")
        program.get(f"/api/account?password={PASSWORD}&api_key={secret}")
        client.post("/api/sign-in", json={"name": "anna", "password": "canary-canary"})
        logging.getLogger("postil.web").error("failed with %s", f"authorization: Bearer {secret}")
        cookie = next(iter(client.cookies.values()))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    text = written.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) > 5
    assert all(line["level"] in ("info", "warning", "error") for line in lines)
    assert all(32 <= ord(letter) < 127 or letter == "\n" for letter in text)
    for canary in (PASSWORD, "canary-canary", cookie, secret.rpartition("_")[2]):
        assert canary not in text
    requests = [line for line in lines if line["logger"] == "postil.requests"]
    assert all(line["request_id"].startswith("req_") for line in requests)
    assert any(line["account"].startswith("acc_") for line in requests)


def test_fifty_at_once_with_money_for_one(anna: TestClient, served: str, service: Service) -> None:
    import httpx2

    key = anna.post("/api/keys", json={"name": "k"}).json()["secret"]
    account_id = anna.get("/api/account").json()["id"]
    dataset_id = upload(anna, service, num_rows=200)
    set_free_rows(service, 0)
    wish = {"dataset_id": dataset_id, "settings": {"training.epochs": 1}}
    reserve = anna.post("/api/preview", json=wish).json()["reserve_micro"]
    assert reserve > 0
    set_limits(
        service,
        account_id,
        monthly_cap_micro=reserve + reserve // 2,
        job_cap_micro=None,
        balance_limit_micro=None,
        hold_reason="",
    )
    headers = {"authorization": f"Bearer {key}"}

    def submit(number: int) -> httpx2.Response:
        return httpx2.post(f"{served}/api/jobs", json=wish, headers=headers, timeout=120, trust_env=False)

    socket.socket.connect = CONNECT  # type: ignore[method-assign]  # these connections are the test's own
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(submit, range(50)))
    statuses = sorted(reply.status_code for reply in replies)
    assert statuses == [201] + [402] * 49, statuses
    assert all(error_of(reply)["hint"] for reply in replies if reply.status_code == 402)
    assert len(anna.get("/api/jobs").json()["jobs"]) == 1
    assert anna.get("/api/balance").json()["reserved_micro"] == reserve


CONNECT = socket.socket.connect


def set_free_rows(service: Service, rows: int) -> None:
    """Prices as an admin sets them."""
    from postil.platform.money.prices import change_prices

    change_prices(service, free_rows_per_month=rows)


def test_nothing_heavy_is_imported() -> None:
    """In a fresh process, so that what other tests imported does not count."""
    import subprocess

    heavy = ("torch", "transformers", "peft", "accelerate", "datasets", "pyarrow", "tokenizers", "openpyxl")
    for module in ("postil.web.app", "postil.client"):
        code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [], module
