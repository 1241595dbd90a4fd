"""An app over a service of its own, and clients that speak with it as browsers and programs do."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.testclient import TestClient

from postil.platform.accounts import passwords
from postil.platform.accounts.accounts import create_account
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.web.app import create_app
from postil.web.server import make_server

ADDRESS = "http://127.0.0.1:8321"
PASSWORD = "correct horse battery"
NewClient = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time; what they are worth is tested where they are made."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHash((Argon2Hasher(1, 8, 1),)))
    passwords._nobodys.cache_clear()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every table and no row; copies of it are quick."""
    folder = tmp_path_factory.mktemp("empty")
    open_service(load_settings(folder)).database.engine.dispose()
    return folder / "postil.db"


@pytest.fixture
def service(tmp_path: Path, empty_database: Path) -> Iterator[Service]:
    """A service on a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    shutil.copyfile(empty_database, folder / "postil.db")
    service = open_service(load_settings(folder))
    yield service
    service.database.engine.dispose()


@pytest.fixture
def app(service: Service) -> FastAPI:
    """The app in front of it."""
    return create_app(service)


@pytest.fixture
def new_client(app: FastAPI) -> Iterator[NewClient]:
    """Makes clients; those with a name have an account and are signed in."""
    with ExitStack() as opened:

        def make(name: str | None = None, role: str = "user", **options: object) -> TestClient:
            client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, **options)  # type: ignore[arg-type]
            opened.enter_context(client)
            if name is not None:
                create_account(app.state.service, name, PASSWORD, role=role)  # type: ignore[arg-type]
                reply = client.post("/api/sign-in", json={"name": name, "password": PASSWORD})
                assert reply.status_code == 200, reply.text
            return client

        yield make


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    """The app on a real socket, as the web process serves it; its address."""
    server = make_server(app)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def anonymous(new_client: NewClient) -> TestClient:
    """Nobody."""
    return new_client()


@pytest.fixture
def anna(new_client: NewClient) -> TestClient:
    """A user who is signed in."""
    return new_client("anna")


@pytest.fixture
def berta(new_client: NewClient) -> TestClient:
    """Another one."""
    return new_client("berta")


def error_of(reply: object) -> dict[str, object]:
    """The error in an answer, whose shape is checked."""
    body = reply.json()  # type: ignore[attr-defined]
    assert set(body) == {"error"}, body
    assert (
        {"code", "message", "hint", "request_id"}
        <= set(body["error"])
        <= {
            "code",
            "message",
            "hint",
            "request_id",
            "problems",
        }
    ), body
    assert "Traceback" not in reply.text  # type: ignore[attr-defined]
    return dict(body["error"])
