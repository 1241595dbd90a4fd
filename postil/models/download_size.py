"""How large a hub's model is, and how much of it is here: for those who watch a download from outside."""

import os
from pathlib import Path

from postil.models.hub import HF_ENDPOINT, cache_dir, hugging_face_cache, is_wanted
from postil.models.modelscope import listed_bytes, model_folder


def wanted_bytes(model_id: str, revision: str | None, hub: str) -> int:
    """Bytes of all files that a base needs, as the hub lists them; 0 where the hub does not say."""
    if hub == "modelscope":
        return listed_bytes(model_id, revision or "master")
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    endpoint = (os.environ.get("HF_ENDPOINT") or HF_ENDPOINT).rstrip("/")
    try:
        info = HfApi(endpoint=endpoint).model_info(model_id, revision=revision, files_metadata=True, timeout=20)
    except (httpx2.HTTPError, HfHubHTTPError, HFValidationError, OfflineModeIsEnabled):
        return 0  # fetching will say why
    return sum(sibling.size or 0 for sibling in info.siblings or [] if is_wanted(sibling.rfilename))


def stored_bytes(model_id: str, revision: str | None, hub: str) -> int:
    """Bytes of it on this machine, half-fetched files included."""
    if hub == "modelscope":
        return _size(model_folder(cache_dir(), model_id, revision or "master"))
    return _size(hugging_face_cache() / f"models--{model_id.replace('/', '--')}" / "blobs")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.lstat().st_size if path.is_file() and not path.name.endswith(".lock") else 0
        except FileNotFoundError:  # it was just moved to its place
            continue
    return total
