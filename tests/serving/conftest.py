"""A real server on loopback, with the starter and three adapters, for all tests of the room."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import uvicorn
from openai import OpenAI

from postil.config import AdapterConfig, ModelConfig
from postil.serving.access import Access
from postil.serving.app import make_app
from postil.serving.engine import Engine
from postil.serving.server import EngineSettings, listening, make_engine
from tests.adapters import make_adapter

TOKEN = "control-token-of-the-tests"


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Args:
        address: such as "http://127.0.0.1:4711".
        folders: of its adapters, by name.
    """

    engine: Engine
    address: str
    folders: dict[str, Path]

    def client(self, **settings: object) -> OpenAI:
        """The unmodified client; it does not try again by itself."""
        defaults = {"base_url": f"{self.address}/v1", "api_key": TOKEN, "max_retries": 0, "timeout": 60}
        return OpenAI(**(defaults | settings))  # type: ignore[arg-type]


@contextmanager
def serving(engine: Engine, access: Access) -> Iterator[str]:
    """Listens in a thread; gives the address."""
    with listening("127.0.0.1", 0) as (listener, address):
        config = uvicorn.Config(make_app(engine, access), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        yield address
        server.should_exit = True
        thread.join(10)


def wait_until(is_so: Callable[[], bool], seconds: float = 10.0) -> float:
    """Waits until something is so; returns for how long."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, "it never came to be"
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters whose random matrices make each of them babble in its own way."""
    root = tmp_path_factory.mktemp("served")
    configs = {
        "shop": (0.02, None, AdapterConfig(rank=4)),
        "terse": (0.03, "You are terse.", AdapterConfig(rank=8, target_modules="all-linear", use_rslora=True)),
        "dora": (0.02, None, AdapterConfig(rank=4, use_dora=True)),
    }
    return {n: make_adapter(root / n, "starter", size=s, system=t, config=c) for n, (s, t, c) in configs.items()}


@pytest.fixture(scope="session")
def served(folders: dict[str, Path]) -> Iterator[Served]:
    """With a control token; queues and places are small, so that they can be filled."""
    before = torch.get_num_threads()
    engine = make_engine(ModelConfig(base="starter", device="cpu"), EngineSettings(max_running=24, max_queued=4))
    for name, folder in folders.items():
        engine.attach(name, folder)
    with serving(engine, Access(control_token=TOKEN)) as address:
        yield Served(engine, address, folders)
    engine.close()
    torch.set_num_threads(before)


@pytest.fixture
def client(served: Served) -> OpenAI:
    return served.client()
