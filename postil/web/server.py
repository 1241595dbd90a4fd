"""The web process: one event loop that serves an app on a socket it was given."""

import asyncio
import os
import socket
import sys
from threading import Thread

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
STOP_SECONDS = 10


class PromptHeaders(H11Protocol):
    """HTTP/1.1 for clients that send the whole head of a request within a few seconds; others lose the connection."""

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come and is to say what it wants."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come; between two requests they begin a new head."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self.waiting is None:
            self._expect_head()

    def on_response_complete(self) -> None:
        """An answer has been sent; uvicorn's own timer watches the silence after it."""
        self._stop_waiting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self.waiting = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    def _give_up(self) -> None:
        self.waiting = None
        if not self.transport.is_closing():
            self.transport.close()


def make_server(app: FastAPI) -> uvicorn.Server:
    """A server that is not running yet."""
    config = uvicorn.Config(
        app,
        http=PromptHeaders,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=20,
        lifespan="on",
    )
    return uvicorn.Server(config)


def serve(app: FastAPI, listening: socket.socket, *, exit_with_parent: bool = False) -> None:
    """Serves until SIGTERM or Ctrl-C; answers that are being written get a few seconds to end.

    Args:
        exit_with_parent: also ends when standard input closes, so that it never outlives its parent.
    """
    # Accepted sockets inherit it. asyncio sets it only where it has made the socket itself, and without it the end of
    # an answer waits 40 ms for the client to confirm its beginning.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = make_server(app)
    if exit_with_parent:
        Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listening])


def _stop_with_parent(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True
