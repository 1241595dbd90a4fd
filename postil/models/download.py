"""One large file over HTTP: resumed where it broke, in this run or in an earlier one, and checked before it counts."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.errors import CannotWriteError, TryAgainError
from postil.models.memory import gigabytes

if TYPE_CHECKING:
    import httpx2

ATTEMPTS = 5
"""Connections in a row that may fail without bringing a single byte."""
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as a hub lists it.

    Args:
        name: in the model's folder.
        url: where it is fetched; redirects are followed.
        sha256: in hexadecimal; empty where the hub has none.
        params: of the query.
    """

    name: str
    url: str
    size: int
    sha256: str
    params: Mapping[str, str] = field(default_factory=dict)


def download_file(
    client: "httpx2.Client", file: RemoteFile, target: Path, model_id: str, refuse: Callable[[int], None]
) -> None:
    """Fetches a file to `target` by way of `<target>.part`, which a later run takes up.

    Args:
        model_id: for errors.
        refuse: raises the hub's error for an HTTP status that is one.

    Raises:
        TryAgainError: the connection keeps breaking, or the content is not what the hub lists (and has been removed).
    """
    import httpx2

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures, reason = 0, "the connection ended early"
    while not part.exists() or _size(part) < file.size:
        before = _size(part)
        try:
            _append(client, file, part, refuse)
        except httpx2.TransportError as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
        failures = 0 if _size(part) > before else failures + 1
        if part.exists() and _size(part) >= file.size:
            break
        if failures >= ATTEMPTS:
            raise TryAgainError("models.download_broken", model=model_id, reason=reason)
        time.sleep(PAUSE_SECONDS)
    if _size(part) != file.size or (file.sha256 and _sha256(part) != file.sha256.lower()):
        part.unlink()
        raise TryAgainError("models.wrong_checksum", model=model_id, file=file.name)
    os.replace(part, target)


def refuse_full_disk(num_bytes: int, free_bytes: int, model_id: str) -> None:
    """Refuses a download that does not fit on the disk before it begins.

    Raises:
        CannotWriteError: says how much is needed and how much there is.
    """
    if num_bytes > free_bytes:
        raise CannotWriteError(
            "models.disk_too_small", model=model_id, needed=gigabytes(num_bytes), available=gigabytes(free_bytes)
        )


def _append(client: "httpx2.Client", file: RemoteFile, part: Path, refuse: Callable[[int], None]) -> None:
    have = _size(part)
    # a compressed answer could not be resumed: its bytes are not the file's
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", file.url, params=dict(file.params) or None, headers=headers) as response:
        if response.status_code == 416:  # the file has changed under us: begin anew
            part.unlink()
            return
        refuse(response.status_code)
        resumed = response.status_code == 206
        with part.open("ab" if resumed else "wb") as stream, _bar(file, have if resumed else 0) as bar:
            # unbuffered: what arrived before a break is kept
            for chunk in response.iter_raw():
                stream.write(chunk)
                bar.update(len(chunk))


def _bar(file: RemoteFile, have: int) -> Any:
    from huggingface_hub.utils.tqdm import tqdm

    # disable=None: no bar where nobody watches
    return tqdm(total=file.size, initial=have, unit="B", unit_scale=True, desc=file.name, disable=None, leave=False)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
