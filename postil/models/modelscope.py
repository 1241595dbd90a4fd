"""ModelScope's plain HTTP file API: list a model's files, fetch each one, resume, check.

    GET {endpoint}/api/v1/models/{id}/repo/files?Revision=..&Recursive=true
        {"Data": {"Files": [{"Path", "Size", "Sha256", "Type"}, ...]}}
    GET {endpoint}/api/v1/models/{id}/repo?Revision=..&FilePath=..
        the file; Range is understood

Files lie in `<cache>/modelscope/<organisation>/<name>/<revision>/`; `.listing.json` beside them says what is complete.
"""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from postil.errors import MissingInputError, UnavailableError
from postil.models.download import RemoteFile, download_file, refuse_full_disk
from postil.models.hub import cache_dir, free_disk_bytes, is_wanted, unknown_model, unreachable

if TYPE_CHECKING:
    import httpx2

_ENDPOINT = "https://modelscope.cn"
_LISTING = ".listing.json"
_TIMEOUT_SECONDS = 20.0


def fetch_from_modelscope(model_id: str, revision: str, offline: bool) -> Path:
    """The model's folder in the cache; what is missing is downloaded.

    Raises:
        MissingInputError, UnavailableError, TryAgainError, CannotWriteError: see `hub.fetch_model`.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model_id):
        raise unknown_model(model_id, "modelscope", _endpoint())
    folder = model_folder(cache_dir(), model_id, revision)
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


def model_folder(cache: Path, model_id: str, revision: str) -> Path:
    """Where a model's files lie."""
    return cache / "modelscope" / Path(*model_id.split("/")) / re.sub(r"[^\w-]", "_", revision)


def listed_bytes(model_id: str, revision: str) -> int:
    """Bytes of all files that a base needs, as the hub lists them; 0 where it cannot be asked."""
    try:
        with _client() as client:
            return sum(file.size for file in _list_files(client, model_id, revision))
    except (UnavailableError, MissingInputError):
        return 0  # fetching will say why


def _endpoint() -> str:
    return (os.environ.get("MODELSCOPE_ENDPOINT") or _ENDPOINT).rstrip("/")


def _client() -> "httpx2.Client":
    import httpx2

    token = os.environ.get("MODELSCOPE_API_TOKEN")
    headers = {"User-Agent": "postil"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx2.Client(headers=headers, follow_redirects=True, timeout=_TIMEOUT_SECONDS)


def _list_files(client: "httpx2.Client", model_id: str, revision: str) -> list[RemoteFile]:
    import httpx2

    base = f"{_endpoint()}/api/v1/models/{model_id}/repo"
    try:
        response = client.get(f"{base}/files", params={"Revision": revision, "Recursive": "true"})
    except httpx2.TransportError as error:
        raise unreachable(model_id, "modelscope", _endpoint(), error) from error
    _refuse_status(response.status_code, model_id, revision)
    try:
        entries: list[dict[str, Any]] = [e for e in response.json()["Data"]["Files"] if e["Type"] != "tree"]
        files = [
            RemoteFile(
                name=e["Path"],
                url=base,
                size=int(e["Size"]),
                sha256=e.get("Sha256") or "",
                params={"Revision": revision, "FilePath": e["Path"]},
            )
            for e in entries
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise unreachable(model_id, "modelscope", _endpoint(), "its answer is not a listing of files") from error
    # a plain name only: a listing cannot make us write outside the model's folder
    return [f for f in files if is_wanted(f.name) and re.fullmatch(r"\w[\w.-]*", f.name)]


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
    known = _read_fetched(folder)
    missing = [f for f in files if known.get(f.name) != _mark(f) or not _has_size(folder / f.name, f.size)]
    refuse_full_disk(sum(f.size for f in missing), free_disk_bytes(folder), model_id)
    fetched = {f.name: _mark(f) for f in files if f not in missing}
    for file in missing:
        download_file(
            client, file, folder / file.name, model_id, lambda status: _refuse_status(status, model_id, revision)
        )
        fetched[file.name] = _mark(file)
        _write_listing(folder, files, fetched)
    _write_listing(folder, files, fetched)


def _mark(file: RemoteFile) -> str:
    return f"{file.size} {file.sha256}"


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _read_fetched(folder: Path) -> dict[str, str]:
    """What was fetched and found right: name -> size and checksum; empty where nothing was."""
    try:
        values: dict[str, str] = json.loads((folder / _LISTING).read_text("utf-8"))["fetched"]
        return values
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_complete(folder: Path) -> bool:
    try:
        values = json.loads((folder / _LISTING).read_text("utf-8"))
        sizes = {name: int(values["fetched"][name].split()[0]) for name in values["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(_has_size(folder / name, size) for name, size in sizes.items())


def _write_listing(folder: Path, files: list[RemoteFile], fetched: dict[str, str]) -> None:
    part = folder / f"{_LISTING}.{os.getpid()}"
    part.write_text(json.dumps({"files": [f.name for f in files], "fetched": fetched}, indent=1), "utf-8")
    os.replace(part, folder / _LISTING)
