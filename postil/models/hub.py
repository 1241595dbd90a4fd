"""Models from a hub: fetched once, checked against the hub's checksums, then found on disk.

Two hubs are spoken: Hugging Face (through huggingface_hub, into its own cache, so that other tools share the files) and
ModelScope (through its plain HTTP file API, see `modelscope.py`). Only what a base needs is fetched: never code, never
pickles.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postil.errors import CannotWriteError, MissingInputError, TryAgainError, UnavailableError
from postil.models.catalog import nearest_name

FETCHED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model", "*.spm")
"""Weights as safetensors, configs, tokenizers, templates, licences; a folder deep too where a hub nests them."""
_OTHER_HUB = {"hf": "modelscope", "modelscope": "hf"}
_HF_ENDPOINT = "https://huggingface.co"


def fetch_model(model_id: str, revision: str | None, hub: str, offline: bool) -> Path:
    """The folder of a hub's model on this machine; what is missing is downloaded.

    A broken connection is taken up again where it broke; finished files are never fetched twice. A connection that
    cannot be made at all falls back to a complete earlier download.

    Args:
        model_id: "organisation/name".
        revision: commit, tag or branch; None is the newest.
        hub: "hf" (endpoint in HF_ENDPOINT) or "modelscope" (endpoint in MODELSCOPE_ENDPOINT).
        offline: touch no network; HF_HUB_OFFLINE=1 does the same.

    Raises:
        MissingInputError: the hub has no such model or revision.
        UnavailableError: the hub cannot be reached, wants a token, or the model is not here and offline is asked for.
        TryAgainError: the download broke, or a file's checksum is wrong; the bad file has been removed.
        CannotWriteError: the disk is full or read-only.
    """
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}
    with _disk_errors(model_id):
        if hub == "modelscope":
            from postil.models.modelscope import fetch_from_modelscope

            return fetch_from_modelscope(model_id, revision or "master", offline)
        return _fetch_from_hugging_face(model_id, revision, offline)


def cache_dir() -> Path:
    """Where Postil keeps what it fetched itself: POSTIL_CACHE, else ~/.cache/postil."""
    return Path(os.environ.get("POSTIL_CACHE") or Path.home() / ".cache" / "postil")


def unreachable(model_id: str, hub: str, endpoint: str, reason: object) -> UnavailableError:
    """The error for a hub that does not answer; its hint names the other hub."""
    text = " ".join(str(reason).split())[:200] or type(reason).__name__
    return UnavailableError(
        "models.hub_unreachable", model=model_id, hub=hub, endpoint=endpoint, reason=text, other=_OTHER_HUB[hub]
    )


def unknown_model(model_id: str, hub: str, endpoint: str) -> MissingInputError:
    """The error for a model that the hub does not know."""
    return MissingInputError(
        "models.unknown_model", model=model_id, hub=hub, endpoint=endpoint, suggestion=nearest_name(model_id)
    )


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hugging_face_cache() -> Path:
    """huggingface_hub's cache as its own documentation defines it, read now and not when it was imported."""
    if path := os.environ.get("HF_HUB_CACHE"):
        return Path(path).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def _fetch_from_hugging_face(model_id: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    endpoint = (os.environ.get("HF_ENDPOINT") or _HF_ENDPOINT).rstrip("/")
    with _quiet_downloads(), _hugging_face_errors(model_id, revision, endpoint, offline):
        path = snapshot_download(
            model_id,
            revision=revision,
            endpoint=endpoint,
            cache_dir=_hugging_face_cache(),
            allow_patterns=list(FETCHED_PATTERNS),
            local_files_only=offline,
        )
    snapshot = Path(path)
    _check_weights(model_id, snapshot)
    return snapshot


@contextmanager
def _quiet_downloads() -> Iterator[None]:
    """huggingface_hub's warnings about retries stay silent: either they help, or we raise."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _hugging_face_errors(model_id: str, revision: str | None, endpoint: str, offline: bool) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise UnavailableError("models.gated", model=model_id, endpoint=endpoint) from error
    except errors.RevisionNotFoundError as error:
        raise MissingInputError("models.unknown_revision", model=model_id, revision=revision) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise unknown_model(model_id, "hf", endpoint) from error
    except (errors.LocalEntryNotFoundError, errors.IncompleteSnapshotError) as error:
        if offline or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            raise UnavailableError("models.not_downloaded", model=model_id, hub="hf") from error
        raise _refused_or_unreachable(model_id, endpoint, error.__cause__ or error) from error
    except errors.HfHubHTTPError as error:
        raise _refused_or_unreachable(model_id, endpoint, error) from error
    except (httpx2.HTTPError, errors.FileMetadataError) as error:
        raise TryAgainError("models.download_broken", model=model_id, reason=_words(error)) from error
    except OSError as error:
        if error.errno is not None:  # the disk, not the hub
            raise
        raise TryAgainError("models.download_broken", model=model_id, reason=_words(error)) from error


def _refused_or_unreachable(model_id: str, endpoint: str, error: BaseException) -> UnavailableError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return UnavailableError("models.gated", model=model_id, endpoint=endpoint)
    return unreachable(model_id, "hf", endpoint, error)


@contextmanager
def _disk_errors(model_id: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotWriteError("models.cannot_store", model=model_id, reason=_words(error)) from error


def _check_weights(model_id: str, snapshot: Path) -> None:
    """Compares each weight file with the sha256 that the hub lists for it, once per file.

    The hub's listing lies beside the snapshot, so this needs no network. A file that passed is noted with its size and
    time, so that gigabytes are not read again at every start.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(model_id, revision=snapshot.name, cache_dir=snapshot.parents[2])
    except CachedRepoTreeNotFoundError:  # fetched by an older tool: nothing to compare with
        return
    for file in files:
        path = snapshot / file.path
        if file.lfs is not None and path.is_file() and not _is_intact(path, file.lfs.sha256):
            path.resolve().unlink()  # the content that the snapshot's link points to
            path.unlink(missing_ok=True)
            raise TryAgainError("models.wrong_checksum", model=model_id, file=file.path)


def _is_intact(path: Path, sha256: str) -> bool:
    stat = path.stat()
    note = cache_dir() / "verified" / sha256
    seen = f"{stat.st_size} {stat.st_mtime_ns}"
    if note.is_file() and note.read_text("utf-8") == seen:
        return True
    if file_sha256(path) != sha256:
        return False
    note.parent.mkdir(parents=True, exist_ok=True)
    part = note.with_suffix(f".{os.getpid()}")
    part.write_text(seen, "utf-8")
    os.replace(part, note)
    return True


def free_disk_bytes(directory: Path) -> int:
    """Free space where `directory` is, or will be."""
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    return shutil.disk_usage(existing).free


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
