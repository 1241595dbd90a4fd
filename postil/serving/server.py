"""Loads a base, starts an engine and listens: what `postil serve` and the private process share."""

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
import uvicorn
from starlette.types import ASGIApp

from postil.config import ModelConfig
from postil.errors import UnavailableError
from postil.models.loading import Base, load_base
from postil.models.memory import available_memory_bytes, shape_from_config
from postil.operating_system import os_reason
from postil.serving.engine import Engine
from postil.serving.scheduler import Limits
from postil.serving.spec import AdapterSpec

GRACE_SECONDS = 5
SMALL_PARAMETERS = 100_000_000
"""Up to this size one thread is as fast as several, and steady where others compute on the same cores."""
CACHE_SHARE = 0.25
"""Of the memory that is free beside the model."""
_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made with.

    Args:
        threads: of the CPU; None chooses by the base's size.
        cache_bytes: bound on the key-value caches; None takes a share of what is free.
    """

    threads: int | None = None
    cache_bytes: int | None = None
    max_running: int = 32
    max_queued: int = 64
    max_loaded_adapters: int = 32


def make_engine(config: ModelConfig, settings: EngineSettings, adapters: Sequence[AdapterSpec] = ()) -> Engine:
    """A started engine with its adapters.

    Raises:
        PostilError: whatever `load_base` and `Engine.attach` refuse.
    """
    base = load_base(config)
    if base.device == "cpu":
        torch.set_num_threads(settings.threads or _choose_threads(base.num_parameters))
    limits = Limits(
        max_running=settings.max_running,
        max_queued=settings.max_queued,
        max_loaded_adapters=settings.max_loaded_adapters,
        cache_tokens=_cache_tokens(base, settings),
    )
    engine = Engine(base, limits)
    engine.start()
    try:
        for adapter in adapters:
            engine.attach(adapter.id, Path(adapter.directory).absolute(), adapter.name)
    except BaseException:
        engine.close()
        raise
    return engine


def _choose_threads(num_parameters: int) -> int:
    if num_parameters <= SMALL_PARAMETERS:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cache_tokens(base: Base, settings: EngineSettings) -> int:
    """How many tokens the caches may hold; at least one conversation of a few hundred must fit."""
    shape = shape_from_config(base.model.config.get_text_config().to_dict())
    context = base.max_length_tokens or 2048
    if shape is None:
        return settings.max_running * context
    free = torch.cuda.mem_get_info()[0] if base.device == "cuda" else available_memory_bytes()
    num_bytes = settings.cache_bytes or int(free * CACHE_SHARE)
    per_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * base.model.dtype.itemsize
    tokens = min(num_bytes // per_token, settings.max_running * context)
    if tokens < min(512, context):
        raise UnavailableError("serving.cache_too_small")
    return tokens


@contextmanager
def listening(host: str, port: int, socket_path: str | None = None) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens, and its address: "http://127.0.0.1:8000" or "unix:/path" (mode 0600).

    Raises:
        UnavailableError: the port or the path is not to be had.
    """
    try:
        found = _listen_unix(socket_path) if socket_path else _listen_tcp(host, port)
    except OSError as error:
        address = socket_path or f"{host}:{port}"
        raise UnavailableError("serving.cannot_listen", address=address, reason=os_reason(error)) from error
    try:
        yield found, f"unix:{socket_path}" if socket_path else _url(found)
    finally:
        found.close()
        if socket_path:
            Path(socket_path).unlink(missing_ok=True)


def _listen_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    # Accepted sockets inherit it; without it a piece of an answer waits 40 ms for the client to confirm the one before.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _listen_unix(path: str) -> socket.socket:
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)  # left behind by a process that was killed
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        made.bind(path)
        made.listen(_BACKLOG)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]):
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts as uvicorn does."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGINT and SIGTERM end the block, and nothing is wrong with that."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass  # uvicorn, too, hands a signal on when it has shut down
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_server(app: ASGIApp, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answers until SIGINT or SIGTERM; streams that are open get `GRACE_SECONDS` to end.

    Args:
        on_ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, on_ready).run(sockets=[listener])
