"""`python -m postil.serving SPEC.json`: the private process that answers for the platform."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from postil.config import ModelConfig
from postil.errors import PostilError
from postil.serving.spec import ServingSpec, read_control_token, read_spec

_USAGE, _BUG = 64, 70


def main(arguments: list[str]) -> int:
    """Serves until SIGTERM; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m postil.serving SPEC.json", file=sys.stderr)
        return _USAGE
    try:
        _serve(read_spec(Path(arguments[0])))
    except PostilError as error:
        body = {"code": error.key, "message": error.message, "hint": error.hint}
        _say({"ready": False, "error": body})
        return error.exit_code
    return 0


def _serve(spec: ServingSpec) -> None:
    token = read_control_token(spec)
    if spec.exit_with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    from postil.serving.access import LOOPBACK, Access
    from postil.serving.app import make_app
    from postil.serving.server import EngineSettings, ended_by_signals, listening, make_engine, run_server

    config = ModelConfig.model_validate(
        {name: getattr(spec, name) for name in ("base", "hub", "revision", "device", "dtype")} | {"offline": True}
    )
    settings = EngineSettings(
        spec.threads, spec.cache_bytes, spec.max_running, spec.max_queued, spec.max_loaded_adapters
    )
    access = Access(control_token=token, hosts=None if spec.socket else LOOPBACK | {spec.host})
    with ended_by_signals(), listening(spec.host, spec.port, spec.socket) as (listener, address):
        engine = make_engine(config, settings, spec.adapters)
        try:
            ready = {"ready": True, "address": address, "pid": os.getpid()}
            run_server(make_app(engine, access), listener, lambda: _say(ready))
        finally:
            engine.close()


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _end_with_parent() -> None:
    """Standard input closes when the parent ends, however it ends.

    It is read past Python's buffer, whose lock this thread would still hold while the interpreter ends: that aborts it.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
