"""What the private serving process is told at its start: one JSON file.

{
  "base": "starter",                    as `postil train --model` takes it; never downloaded here
  "hub": "hf", "revision": null, "device": "auto", "dtype": "auto",
  "threads": null,                      CPU threads; null chooses by the base's size
  "socket": "/run/postil/serving.sock", a Unix socket, made with mode 0600; or
  "host": "127.0.0.1", "port": 0,       a loopback address; port 0 takes a free one and says which
  "control_token_fd": 5,                an inherited descriptor that holds the token to its end; or
  "control_token_file": "/run/token",   a file of mode 0600; never a command line
  "adapters": [{"id": "a1", "directory": "/abs", "name": "ft:starter::a1"}],
  "max_running": 32, "max_queued": 64, "max_loaded_adapters": 32, "cache_bytes": null,
  "exit_with_parent": true              ends when standard input closes, so that it never outlives its parent
}
"""

import json
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from postil.errors import MissingInputError, NotAllowedError, UsageError

MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """An adapter that is there from the start."""

    id: str
    directory: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ServingSpec:
    """The file's entries; None where a default is chosen when the machine is known."""

    base: str = "starter"
    hub: str = "hf"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    socket: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    control_token_fd: int | None = None
    control_token_file: str | None = None
    adapters: tuple[AdapterSpec, ...] = ()
    max_running: int = 32
    max_queued: int = 64
    max_loaded_adapters: int = 32
    cache_bytes: int | None = None
    exit_with_parent: bool = False


_KINDS: dict[str, Any] = {"str": str, "int": int, "bool": bool, "None": type(None)}


def read_spec(path: Path) -> ServingSpec:
    """Reads the file.

    Raises:
        MissingInputError: it is not there.
        UsageError: not JSON, an entry that nobody knows, or one of the wrong kind.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        return _spec(found)
    except OSError as error:
        raise MissingInputError("serving.bad_spec", path=path, reason=error.strerror) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError("serving.bad_spec", path=path, reason=" ".join(str(error).split())[:200]) from None


def _spec(found: dict[str, Any]) -> ServingSpec:
    kinds = {f.name: getattr(f.type, "__name__", str(f.type)) for f in fields(ServingSpec)}
    for name, value in found.items():
        if name not in kinds:
            raise ValueError(f"unknown entry {name}")
        if name != "adapters" and not any(type(value) is _KINDS[kind] for kind in kinds[name].split(" | ")):
            raise ValueError(f"{name} is {json.dumps(value)[:80]}")
    adapters = tuple(AdapterSpec(**entry) for entry in found.get("adapters") or [])
    for adapter in adapters:
        if not isinstance(adapter.id, str) or not isinstance(adapter.directory, str):
            raise ValueError("adapters")
    return ServingSpec(**found | {"adapters": adapters})


def read_control_token(spec: ServingSpec) -> str | None:
    """The token, out of the descriptor or the file that the spec names; None where it names neither.

    Raises:
        NotAllowedError: others can read the file.
        UsageError: there is nothing in it.
        MissingInputError: it is not there.
    """
    path = spec.control_token_file
    try:
        if spec.control_token_fd is not None:
            with os.fdopen(spec.control_token_fd, "rb") as file:
                return _token(file.read(MAX_TOKEN_BYTES), f"fd {spec.control_token_fd}")
        if path is None:
            return None
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise NotAllowedError("serving.token_exposed", path=path)
            return _token(file.read(MAX_TOKEN_BYTES), path)
    except OSError as error:
        reason = f"control token: {error.strerror}"
        raise MissingInputError("serving.bad_spec", path=path or "-", reason=reason) from None


def _token(content: bytes, path: str) -> str:
    token = content.decode("ascii", "replace").strip()
    if not token:
        raise UsageError("serving.bad_spec", path=path, reason="control token: empty")
    return token
