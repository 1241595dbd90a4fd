"""`postil serve`: base and adapters answer `openai` clients on this machine, without accounts."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from postil.cli.options import AsJson, Device, Hub
from postil.cli.screen import Screen, open_screen
from postil.config import ModelConfig
from postil.errors import MissingInputError, UsageError
from postil.models.adapter_checks import read_adapter
from postil.serving.spec import AdapterSpec

MIN_KEY_LENGTH = 16
DEFAULT_PORT = 8399


def serve(
    base: Annotated[str, typer.Option("--base", "--model", "-m", metavar="MODEL", help="cli.serve.base")] = "starter",
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", "-a", metavar="NAME=DIR", help="cli.serve.adapter")
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="cli.serve.host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="cli.serve.port")] = DEFAULT_PORT,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="cli.serve.api_key_file")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="cli.serve.threads")] = None,
    device: Device = None,
    hub: Hub = None,
    as_json: AsJson = False,
) -> None:
    """Serves until Ctrl-C.

    Raises:
        UsageError: an adapter without a name, or a host that is open to others without keys.
        MissingInputError, DataError, UnavailableError: base, adapters or port are not to be had.
    """
    screen = open_screen(as_json)
    adapters = [_adapter(text) for text in adapter or ()]
    keys = _read_keys(api_key_file) if api_key_file else None
    if keys is None and not _is_loopback(host):
        raise UsageError("serving.open_host", host=host)
    for one in adapters:  # what is wrong with a folder is said before the seconds that loading takes
        read_adapter(Path(one.directory))
    screen.say("cli.serve.loading", "dim", base=base)
    from postil.serving.access import LOOPBACK, Access
    from postil.serving.app import make_app
    from postil.serving.server import EngineSettings, ended_by_signals, listening, make_engine, run_server

    chosen = {"base": base, "device": device or "auto", "hub": hub or "hf"}
    with ended_by_signals(), listening(host, port) as (listener, address):
        engine = make_engine(ModelConfig.model_validate(chosen), EngineSettings(threads=threads), adapters)
        names = [engine.base.name, *(a.name or a.id for a in adapters)]
        access = Access(api_keys=keys, hosts=LOOPBACK | {host, f"[{host}]"} if _is_loopback(host) else None)
        try:
            run_server(make_app(engine, access), listener, lambda: _say_ready(screen, address, names))
        finally:
            engine.close()
    screen.say("cli.serve.ended", "dim")


def _adapter(text: str) -> AdapterSpec:
    name, equals, directory = text.partition("=")
    if not equals or not name.strip() or not directory:
        raise UsageError("serving.bad_adapter_option", text=text)
    return AdapterSpec(id=name.strip(), directory=str(Path(directory).expanduser()), name=name.strip())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_keys(path: Path) -> frozenset[str]:
    """One key a line; lines that begin with # are notes."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        raise MissingInputError("serving.no_keys", path=path) from None
    keys = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    if not keys or any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise UsageError("serving.no_keys", path=path)
    return frozenset(keys)


def _say_ready(screen: Screen, address: str, names: Sequence[str]) -> None:
    model = names[-1]
    screen.say("cli.serve.ready", "bold", address=address, models=", ".join(names))
    screen.command_line("from openai import OpenAI")
    screen.command_line(f'client = OpenAI(base_url="{address}/v1", api_key="any")')
    question = '[{"role": "user", "content": "Hello"}]'
    screen.command_line(
        f'print(client.chat.completions.create(model="{model}", messages={question}, temperature=0)'
        ".choices[0].message.content)"
    )
    body = f'{{"model": "{model}", "messages": {question}}}'
    screen.command("curl", f"{address}/v1/chat/completions", "-H", "content-type: application/json", "-d", body)
    screen.say("cli.serve.how_to_end", "dim")
    screen.result({"ready": True, "address": address, "models": list(names)})
