"""Models from a hub: fetched once, checked against the hub's checksums, then found on disk.

Two hubs are spoken: Hugging Face (through huggingface_hub, into its own cache, so that other tools share the files) and
ModelScope (through its plain HTTP file API, see `modelscope.py`). Only what a base needs is fetched: never code, never
pickles.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from filelock import FileLock

from postil.errors import CannotWriteError, MissingInputError, TryAgainError, UnavailableError
from postil.models.catalog import nearest_name
from postil.models.download import RemoteFile, download_file, refuse_full_disk

FETCHED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "tokenizer.model")
"""Weights as safetensors, configs, tokenizers, templates."""
IGNORED_PATTERNS = ("*/*", "consolidated*.safetensors")
"""Folders hold other formats of the same weights, and so do Mistral's "consolidated" files."""
_OTHER_HUB = {"hf": "modelscope", "modelscope": "hf"}
HF_ENDPOINT = "https://huggingface.co"


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


def is_wanted(path: str) -> bool:
    """True for a file of a hub's listing that a base needs."""
    wanted = any(fnmatch(path, pattern) for pattern in FETCHED_PATTERNS)
    return wanted and not any(fnmatch(path, pattern) for pattern in IGNORED_PATTERNS)


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


def hugging_face_cache() -> Path:
    """huggingface_hub's cache as its own documentation defines it, read now and not when it was imported."""
    if path := os.environ.get("HF_HUB_CACHE"):
        return Path(path).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def _fetch_from_hugging_face(model_id: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    endpoint = (os.environ.get("HF_ENDPOINT") or HF_ENDPOINT).rstrip("/")
    with _quiet_downloads(), _hugging_face_errors(model_id, revision, endpoint, offline):
        if not offline:
            _fetch_large_files(model_id, revision, endpoint)
        path = snapshot_download(
            model_id,
            revision=revision,
            endpoint=endpoint,
            cache_dir=hugging_face_cache(),
            allow_patterns=list(FETCHED_PATTERNS),
            ignore_patterns=list(IGNORED_PATTERNS),
            local_files_only=offline,
        )
    return Path(path)


def _fetch_large_files(model_id: str, revision: str | None, endpoint: str) -> None:
    """Puts the files that the hub lists with a sha256 (all weights) into the cache, resumed and checked.

    `snapshot_download` then finds them there. On its own it forgets a half-fetched file when the program ends, and
    takes a file's length for its content. Where the hub cannot be asked, it says what that means.
    """
    import httpx2
    from huggingface_hub import HfApi, get_token, hf_hub_url
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        info = HfApi(endpoint=endpoint).model_info(model_id, revision=revision, files_metadata=True, timeout=20)
    except (httpx2.HTTPError, OfflineModeIsEnabled, HFValidationError):
        return
    store = hugging_face_cache() / f"models--{model_id.replace('/', '--')}"
    blobs, snapshot = store / "blobs", store / "snapshots" / str(info.sha)
    missing = []
    for sibling in info.siblings or []:
        name, lfs = sibling.rfilename, sibling.lfs
        if lfs is None or not is_wanted(name) or (blobs / lfs.sha256).exists() or (snapshot / name).exists():
            continue
        url = hf_hub_url(model_id, name, revision=info.sha, endpoint=endpoint)
        missing.append(RemoteFile(name, url, lfs.size, lfs.sha256))
    refuse_full_disk(sum(f.size for f in missing), free_disk_bytes(blobs), model_id)
    blobs.mkdir(parents=True, exist_ok=True)
    token = get_token()
    headers = {"User-Agent": "postil"} | ({"Authorization": f"Bearer {token}"} if token else {})
    with httpx2.Client(headers=headers, follow_redirects=True, timeout=20.0) as client:
        for file in missing:
            with FileLock(blobs / f"{file.sha256}.lock"):
                if not (blobs / file.sha256).exists():
                    refuse = partial(_refuse_status, model_id, endpoint)
                    download_file(client, file, blobs / file.sha256, model_id, refuse)


def _refuse_status(model_id: str, endpoint: str, status: int) -> None:
    if status in (401, 403):
        raise UnavailableError("models.gated", model=model_id, endpoint=endpoint)
    if status >= 400:
        raise unreachable(model_id, "hf", endpoint, f"HTTP {status}")


@contextmanager
def _quiet_downloads() -> Iterator[None]:
    """Warnings about retries stay silent (either they help, or we raise), and bars too where nobody watches."""
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    verbosity, hide_bars = logging.get_verbosity(), not sys.stderr.isatty() and not are_progress_bars_disabled()
    logging.set_verbosity_error()
    if hide_bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if hide_bars:
            enable_progress_bars()


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


def free_disk_bytes(directory: Path) -> int:
    """Free space where `directory` is, or will be."""
    existing = next(p for p in (directory, *directory.parents) if p.exists())
    return shutil.disk_usage(existing).free


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
