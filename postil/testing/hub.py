"""A model hub on loopback that speaks the file APIs of Hugging Face and of ModelScope, and can misbehave."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "master", COMMIT)


@dataclass
class LoopbackHub:
    """What the hub serves, how it misbehaves, and what was asked of it.

    Args:
        url: to be set as HF_ENDPOINT or MODELSCOPE_ENDPOINT.
        models: id -> file name -> content.
        gated: ids that want a token.
        breaks: file name -> the connections still to be cut; each is cut halfway through what it was to send.
        corrupted: file names of which other bytes are sent than the listing's checksum says.
        requests: (method, path with query, Range header or "").
    """

    url: str = ""
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    breaks: dict[str, int] = field(default_factory=dict)
    corrupted: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def add_folder(self, model_id: str, folder: Path) -> None:
        """Serves every file of a folder as a model."""
        self.models[model_id] = {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}

    def ranges(self, name: str) -> list[str]:
        """The Range headers of all downloads of a file, in order, "" for none."""
        return [asked for method, path, asked in self.requests if method == "GET" and name in path]


@contextmanager
def run_hub() -> Iterator[LoopbackHub]:
    """Serves on a free port until the block ends."""
    hub = LoopbackHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests` instead."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        if m := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?", path):
            self._answer_modelscope(m[1], query, listing=m[2] is not None)
        elif m := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._answer_hugging_face(m[1], m[2], m[3] or "main")
        elif m := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self._admit(m[1], m[2]):
                self._send_file(self.hub.models[m[1]], m[3])
        else:
            self._send_json(404, {"error": "no such page"})

    def _admit(self, model_id: str, revision: str) -> bool:
        """Answers with the refusal itself where there is one."""
        if model_id not in self.hub.models:
            self._send_json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif model_id in self.hub.gated:
            self._send_json(403, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
        elif revision not in REVISIONS:
            self._send_json(404, {"error": "Invalid rev"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _answer_modelscope(self, model_id: str, query: dict[str, str], listing: bool) -> None:
        if not self._admit(model_id, query.get("Revision", "master")):
            return
        files = self.hub.models[model_id]
        if not listing:
            self._send_file(files, query["FilePath"])
            return
        entries = [
            {"Path": n, "Name": n, "Type": "blob", "Size": len(c), "Sha256": hashlib.sha256(c).hexdigest()}
            for n, c in files.items()
        ]
        self._send_json(200, {"Code": 200, "Success": True, "Data": {"Files": entries}})

    def _answer_hugging_face(self, model_id: str, kind: str | None, revision: str) -> None:
        if not self._admit(model_id, revision):
            return
        files = self.hub.models[model_id]
        if kind != "tree":
            siblings = [
                {"rfilename": name, "size": len(c), "blobId": _git_id(c)} | _lfs(name, c) for name, c in files.items()
            ]
            self._send_json(200, {"id": model_id, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0})
            return
        entries = [
            {"type": "file", "path": name, "size": len(c), "oid": _git_id(c)} | _lfs(name, c, digest="oid")
            for name, c in files.items()
        ]
        self._send_json(200, entries)

    def _send_file(self, files: dict[str, bytes], name: str) -> None:
        if name not in files:
            self._send_json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = files[name]
        large = name.endswith(".safetensors")
        etag = hashlib.sha256(content).hexdigest() if large else _git_id(content)
        if name in self.hub.corrupted:
            content = bytes(len(content))
        start = int(m[1]) if (m := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.breaks.get(name, 0) > 0:
            self.hub.breaks[name] -= 1
            self.wfile.write(content[start : start + (len(content) - start) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[start:])

    def _send_json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _git_id(content: bytes) -> str:
    """git's name of a file's content, which a hub lists for small files."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _lfs(name: str, content: bytes, digest: str = "sha256") -> dict[str, object]:
    """How a hub marks a large file: the listing of a model and that of its tree call the checksum differently."""
    if not name.endswith(".safetensors"):
        return {}
    return {"lfs": {digest: hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
