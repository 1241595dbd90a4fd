"""Files to the service and back."""

import os
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx2

from postil.client.transport import FIRST_WAIT_SECONDS, TRIES, Transport
from postil.errors import CannotWriteError, ConflictError, MissingInputError, TryAgainError
from postil.operating_system import os_reason
from postil.wire.datasets import Dataset, UploadState

PIECE_BYTES = 8 << 20
SEND_SECONDS = 300.0
_NAME = re.compile(r"filename\*=UTF-8''([^;]+)")


def send_file(transport: Transport, path: Path, name: str | None) -> Dataset:
    """Sends a file, piece by piece; a piece that broke is asked about and sent on from where it ends.

    Raises:
        MissingInputError: no such file here.
    """
    if not path.is_file():
        raise MissingInputError("client.no_file", path=path)
    begun = {"file_name": path.name, "name": name}
    state = transport.ask(UploadState, "POST", "/api/uploads", is_safe=True, json=begun)
    where, num_bytes = f"/api/uploads/{state.id}", path.stat().st_size
    with path.open("rb") as file:
        received = 0
        while received < num_bytes:
            file.seek(received)
            received = _send_piece(transport, where, received, file.read(PIECE_BYTES))
    return transport.ask(Dataset, "POST", f"{where}/finish", json={"num_bytes": num_bytes})


def _send_piece(transport: Transport, where: str, offset: int, piece: bytes) -> int:
    """Sends a piece; returns where the next one begins."""
    for left in reversed(range(TRIES)):
        try:
            return transport.ask(
                UploadState,
                "PUT",
                where,
                is_safe=False,
                params={"offset": offset},
                content=piece,
                headers={"content-type": "application/octet-stream"},
                timeout=httpx2.Timeout(SEND_SECONDS, connect=10),
            ).received_bytes
        except (TryAgainError, ConflictError):
            if not left:
                raise
            received = transport.ask(UploadState, "GET", where).received_bytes
            if received != offset:  # some of it, or all, has come
                return received
            time.sleep(FIRST_WAIT_SECONDS)
    raise AssertionError("the last try returns or raises")


def save(transport: Transport, path: str, target: Path, parameters: Mapping[str, Any]) -> Path:
    """Writes an answer into a file, whole or not at all.

    Args:
        target: a file that does not exist, or a folder, where it gets the name that the service proposes.

    Raises:
        CannotWriteError: the file exists, or the disk is full.
    """
    with transport.stream("GET", path, params=parameters, timeout=SEND_SECONDS) as reply:
        place = target / _proposed(reply) if target.is_dir() else target
        if place.exists():
            raise CannotWriteError("client.exists", path=place)
        beside = place.with_name(f".{place.name[:100]}.{secrets.token_hex(4)}.part")
        try:
            with beside.open("xb") as file:
                for piece in reply.iter_bytes():
                    file.write(piece)
            os.replace(beside, place)
        except OSError as error:
            raise CannotWriteError("client.cannot_write", path=place, reason=os_reason(error)) from error
        finally:
            beside.unlink(missing_ok=True)
    return place


def _proposed(reply: httpx2.Response) -> str:
    """The name that an answer proposes: its last part only, whatever a service may say."""
    found = _NAME.search(reply.headers.get("content-disposition", ""))
    name = Path(unquote(found[1]).replace("\\", "/")).name if found else ""
    return name if name not in ("", ".", "..") and "\0" not in name else "download"
