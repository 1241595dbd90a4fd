"""One download in a process of its own, the only one with the network: `python -m postil.platform.bases.downloading`.

    in    one line of JSON: {"model", "revision", "hub", "token"}; then the pipe stays open as long as the parent lives
    out   lines of JSON: {"total": n, "done": n} once in a while, then {"path", "revision", "facts"} or {"error"}

Whatever ends it, the next one goes on where it stopped: half-fetched files stay in the hub's cache.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from postil.errors import PostilError, TryAgainError
from postil.models.download_size import stored_bytes, wanted_bytes
from postil.models.hub import fetch_model
from postil.platform.bases.facts import folder_facts
from postil.platform.stored_errors import StoredError

TELL_SECONDS = 0.5
# Where each hub's client looks for a token.
TOKEN_VARIABLES = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}
ORPHANED = 75


def main() -> None:
    """Fetches, checks, and says how it goes."""
    request = json.loads(sys.stdin.readline())
    if token := request.get("token"):
        os.environ[TOKEN_VARIABLES[request["hub"]]] = token
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_tell_progress, args=(request,), daemon=True).start()
    _tell(_fetch(request["model"], request["revision"], request["hub"]))
    os._exit(0)  # the threads wait for ever


def _fetch(model: str, revision: str | None, hub: str) -> dict[str, Any]:
    try:
        path = fetch_model(model, revision, hub, offline=False)
        facts = folder_facts(path)
    except PostilError as error:
        return {"error": StoredError.of(error).as_dict(), "may_pass": isinstance(error, TryAgainError)}
    return {"path": str(path), "revision": _commit(path) or revision, "facts": facts}


def _commit(path: Path) -> str | None:
    """A snapshot's folder is named after its commit."""
    return path.name if path.parent.name == "snapshots" else None


def _tell_progress(request: dict[str, Any]) -> None:
    where = request["model"], request["revision"], request["hub"]
    total = wanted_bytes(*where)
    while True:
        done = stored_bytes(*where)
        _tell({"total": total, "done": min(done, total) if total else done})
        threading.Event().wait(TELL_SECONDS)


def _end_with_parent() -> None:
    """A parent that was killed closes the pipe; a new one starts its own download."""
    sys.stdin.read()
    os._exit(ORPHANED)


_lock = threading.Lock()


def _tell(value: dict[str, Any]) -> None:
    with _lock:
        try:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()
        except OSError:
            os._exit(ORPHANED)


if __name__ == "__main__":
    main()
