"""Clients that send or read as slowly as they can lose the connection; others are served meanwhile (T23)."""

import socket
import time

import httpx2
import pytest
from fastapi import FastAPI

from postil.platform.accounts.accounts import create_account
from postil.platform.accounts.api_keys import make_key
from postil.web import bodies, server
from tests.web.conftest import PASSWORD, error_of

NUM_SLOW, LIMIT_SECONDS = 30, 1.0


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def connect(address: str, data: bytes) -> socket.socket:
    """A connection over which something has been sent, and not all."""
    connection = socket.create_connection(("127.0.0.1", port_of(address)), timeout=10)
    connection.sendall(data)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """True where the other end has closed; what it said before is read away."""
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


@pytest.fixture
def key(app: FastAPI) -> str:
    account = create_account(app.state.service, "anna", PASSWORD)
    return make_key(app.state.service, account.id, "k", ["train", "read"])[1]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for."""
    monkeypatch.setattr(server, "HEADER_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(bodies, "PIECE_SECONDS", LIMIT_SECONDS)


@pytest.mark.parametrize(
    "head", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n"], ids=["none", "line", "half"]
)
def test_half_a_head_is_not_waited_for(short: None, served: str, head: bytes) -> None:
    slow = [connect(served, head) for _ in range(NUM_SLOW)]
    began = time.monotonic()
    assert httpx2.get(f"{served}/healthz", trust_env=False).status_code == 200
    assert all(is_closed(connection) for connection in slow)
    assert time.monotonic() - began < LIMIT_SECONDS + 4


def test_half_a_second_head_on_a_used_connection_is_not_waited_for(short: None, served: str) -> None:
    connection = connect(served, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert b"200 OK" in connection.recv(4096)
    connection.sendall(b"GET /heal")
    began = time.monotonic()
    assert is_closed(connection)
    assert time.monotonic() - began < LIMIT_SECONDS + 4


def test_dripping_heads_do_not_help(short: None, served: str) -> None:
    connection = connect(served, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
    began = time.monotonic()
    with pytest.raises(OSError):  # noqa: PT011  # a reset or a broken pipe, as the system has it
        while time.monotonic() - began < LIMIT_SECONDS + 4:
            connection.sendall(b"x-drip: 1\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < LIMIT_SECONDS + 4


def test_a_body_that_stops_is_told_so(short: None, served: str, key: str) -> None:
    head = f"POST /api/datasets?file_name=a.csv HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    connection = connect(served, f"{head}content-length: 1000\r\n\r\nquestion,answer\n".encode())
    began = time.monotonic()
    answer = b"".join(iter(lambda: connection.recv(65536), b""))  # to the end: the connection is closed
    assert time.monotonic() - began < LIMIT_SECONDS + 4
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"web.too_slow" in answer
    headers = {"authorization": f"Bearer {key}"}
    assert httpx2.get(f"{served}/api/datasets", headers=headers, trust_env=False).json()["datasets"] == []


def test_a_dripping_body_has_an_end(monkeypatch: pytest.MonkeyPatch, served: str, key: str) -> None:
    monkeypatch.setattr(bodies, "GRACE_SECONDS", LIMIT_SECONDS)
    head = f"POST /api/datasets?file_name=a.csv HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    connection = connect(served, f"{head}content-length: 1000\r\n\r\n".encode())
    began = time.monotonic()
    connection.settimeout(0.05)
    answer = b""
    while not answer and time.monotonic() - began < LIMIT_SECONDS + 4:
        connection.sendall(b"x")
        try:
            answer = connection.recv(65536)
        except TimeoutError:
            continue
    assert answer.startswith(b"HTTP/1.1 408")


def test_one_account_has_a_few_uploads_at_a_time(app: FastAPI, served: str, key: str) -> None:
    from postil.web.lanes import MOST_UPLOADS_OF_ACCOUNT

    head = f"POST /api/datasets?file_name=a.csv HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n"
    begun = f"{head}content-length: 1000\r\n\r\nquestion,answer\n".encode()
    held = [connect(served, begun) for _ in range(MOST_UPLOADS_OF_ACCOUNT)]
    ends = time.monotonic() + 20
    while app.state.lanes.used.total() < MOST_UPLOADS_OF_ACCOUNT and time.monotonic() < ends:
        time.sleep(0.02)
    headers = {"authorization": f"Bearer {key}", "content-type": "text/csv"}
    more = httpx2.post(f"{served}/api/datasets?file_name=b.csv", content=b"q,a\n", headers=headers, trust_env=False)
    assert more.status_code == 429 and error_of(more)["code"] == "web.too_many_at_once"
    assert int(more.headers["retry-after"]) >= 1
    assert httpx2.get(f"{served}/api/account", headers=headers, trust_env=False).status_code == 200
    for connection in held:
        connection.close()
