"""ModelScope's plain HTTP file API: list a model's files, fetch each one, resume, check.

    GET {endpoint}/api/v1/models/{id}/repo/files?Revision=..&Recursive=true   -> {"Data": {"Files": [{"Path", "Size", "Sha256", "Type"}]}}
    GET {endpoint}/api/v1/models/{id}/repo?Revision=..&FilePath=..            -> the file; Range is understood

Files lie in `<cache>/modelscope/<organisation>/<name>/<revision>/`; `.listing.json` beside them says what is complete.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from postil.errors import CannotWriteError, MissingInputError, TryAgainError, UnavailableError
from postil.models.hub import FETCHED_PATTERNS, cache_dir, file_sha256, free_disk_bytes, unknown_model, unreachable
from postil.models.memory import gigabytes

if TYPE_CHECKING:
    import httpx2

_ENDPOINT = "https://modelscope.cn"
_LISTING = ".listing.json"
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.5
_TIMEOUT_SECONDS = 20.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub lists it; `sha256` is empty where the hub has none."""

    path: str
    size: int
    sha256: str


def fetch_from_modelscope(model_id: str, revision: str, offline: bool) -> Path:
    """The model's folder in the cache; what is missing is downloaded.

    Raises:
        MissingInputError, UnavailableError, TryAgainError, CannotWriteError: see `hub.fetch_model`.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model_id) or ".." in model_id:
        raise unknown_model(model_id, "modelscope", _endpoint())
    folder = cache_dir() / "modelscope" / Path(*model_id.split("/")) / re.sub(r"[^\w.-]", "_", revision)
    if offline:
        if not _is_complete(folder):
            raise UnavailableError("models.not_downloaded", model=model_id, hub="modelscope")
        return folder
    try:
        with _client() as client:
            files = _list_files(client, model_id, revision)
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_name(folder.name + ".lock")):
                _fetch_missing(client, model_id, revision, files, folder)
    except UnavailableError as error:
        if error.key == "models.hub_unreachable" and _is_complete(folder):
            return folder
        raise
    return folder


def _endpoint() -> str:
    return (os.environ.get("MODELSCOPE_ENDPOINT") or _ENDPOINT).rstrip("/")


def _client() -> "httpx2.Client":
    import httpx2

    token = os.environ.get("MODELSCOPE_API_TOKEN")
    headers = {"User-Agent": "postil"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx2.Client(headers=headers, follow_redirects=True, timeout=_TIMEOUT_SECONDS)


def _url(model_id: str, rest: str) -> str:
    return f"{_endpoint()}/api/v1/models/{model_id}/{rest}"


def _list_files(client: "httpx2.Client", model_id: str, revision: str) -> list[RemoteFile]:
    import httpx2

    try:
        response = client.get(_url(model_id, "repo/files"), params={"Revision": revision, "Recursive": "true"})
    except httpx2.HTTPError as error:
        raise unreachable(model_id, "modelscope", _endpoint(), error) from error
    _refuse_status(response.status_code, model_id, revision)
    try:
        entries: list[dict[str, Any]] = response.json()["Data"]["Files"]
        files = [RemoteFile(e["Path"], int(e["Size"]), e.get("Sha256") or "") for e in entries if e["Type"] != "tree"]
    except (ValueError, KeyError, TypeError) as error:
        raise unreachable(model_id, "modelscope", _endpoint(), "its answer is not a listing of files") from error
    return [f for f in files if any(fnmatch(f.path, pattern) for pattern in FETCHED_PATTERNS) and _is_inside(f.path)]


def _is_inside(path: str) -> bool:
    """A listing cannot make us write outside the model's folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\\" not in path and ":" not in path


def _refuse_status(status: int, model_id: str, revision: str) -> None:
    if status == 404:
        if revision != "master":
            raise MissingInputError("models.unknown_revision", model=model_id, revision=revision)
        raise unknown_model(model_id, "modelscope", _endpoint())
    if status in (401, 403):
        raise UnavailableError("models.gated_modelscope", model=model_id, endpoint=_endpoint())
    if status >= 400:
        raise unreachable(model_id, "modelscope", _endpoint(), f"HTTP {status}")


def _fetch_missing(
    client: "httpx2.Client", model_id: str, revision: str, files: list[RemoteFile], folder: Path
) -> None:
    known = _read_listing(folder)
    missing = [f for f in files if known.get(f.path) != _mark(f) or not (folder / f.path).is_file()]
    needed = sum(f.size for f in missing)
    free = free_disk_bytes(folder)
    if needed > free:
        reason = f"{gigabytes(needed)} > {gigabytes(free)}"
        raise CannotWriteError("models.cannot_store", model=model_id, reason=reason)
    done = {path: mark for path, mark in known.items() if (folder / path).is_file()}
    for file in missing:
        _fetch_file(client, model_id, revision, file, folder)
        done[file.path] = _mark(file)
        _write_listing(folder, files, done)
    _write_listing(folder, files, done)


def _mark(file: RemoteFile) -> str:
    return f"{file.size} {file.sha256}"


def _fetch_file(client: "httpx2.Client", model_id: str, revision: str, file: RemoteFile, folder: Path) -> None:
    """Downloads into `<name>.part`, taking up what an earlier attempt or an earlier run left there."""
    import httpx2

    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures, reason = 0, ""
    while not part.exists() or part.stat().st_size < file.size:
        before = part.stat().st_size if part.exists() else 0
        try:
            _append(client, model_id, revision, file, part)
            if part.stat().st_size < file.size:
                reason = "the connection ended early"
        except httpx2.HTTPError as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        if file.size == 0 and part.exists():
            break
        failures = 0 if after > before else failures + 1
        if failures >= _ATTEMPTS:
            raise TryAgainError("models.download_broken", model=model_id, reason=reason)
        if after < file.size:
            time.sleep(_PAUSE_SECONDS)
    if part.stat().st_size != file.size or (file.sha256 and file_sha256(part) != file.sha256.lower()):
        part.unlink()
        raise TryAgainError("models.wrong_checksum", model=model_id, file=file.path)
    os.replace(part, target)


def _append(client: "httpx2.Client", model_id: str, revision: str, file: RemoteFile, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    params = {"Revision": revision, "FilePath": file.path}
    with client.stream("GET", _url(model_id, "repo"), params=params, headers=headers) as response:
        if response.status_code == 416:  # the file has changed under us: begin anew
            part.unlink()
            return
        _refuse_status(response.status_code, model_id, revision)
        with part.open("ab" if response.status_code == 206 else "wb") as stream:
            for chunk in response.iter_bytes(_CHUNK_BYTES):
                stream.write(chunk)


def _read_listing(folder: Path) -> dict[str, str]:
    """What was fetched and found right: path -> size and checksum; empty where nothing was."""
    try:
        values: dict[str, str] = json.loads((folder / _LISTING).read_text("utf-8"))["fetched"]
        return values
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_complete(folder: Path) -> bool:
    try:
        values = json.loads((folder / _LISTING).read_text("utf-8"))
        return all(path in values["fetched"] and (folder / path).is_file() for path in values["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    yield part
    os.replace(part, path)


def _write_listing(folder: Path, files: list[RemoteFile], fetched: dict[str, str]) -> None:
    with _replacing(folder / _LISTING) as part:
        part.write_text(json.dumps({"files": [f.path for f in files], "fetched": fetched}, indent=1), "utf-8")
