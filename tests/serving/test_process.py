"""The platform's private process and `postil serve`, as real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from postil.errors import MissingInputError, NotAllowedError, UsageError
from postil.serving.spec import ServingSpec, read_control_token, read_spec

TOKEN = "a-token-that-nobody-else-sees"
MISSING = 66


@contextmanager
def started(*arguments: str, **settings: Any) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """A process and the first line that it prints; ended at the end, if it still is there."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True} | settings
    process = subprocess.Popen([sys.executable, "-m", *arguments], **settings)
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        yield process, json.loads(line) if line else {}
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def write_spec(directory: Path, **spec: Any) -> str:
    path = directory / "spec.json"
    path.write_text(json.dumps({"base": "starter", "device": "cpu"} | spec))
    return str(path)


def test_the_private_process_on_a_unix_socket(tmp_path: Path, folders: dict[str, Path]) -> None:
    """The token comes through a descriptor and stands in no command line; the socket is for its owner only."""
    path = tmp_path / "serving.sock"
    adapters = [{"id": "shop", "directory": str(folders["shop"]), "name": "ft:shop"}]
    reader, writer = os.pipe()
    spec = write_spec(tmp_path, socket=str(path), control_token_fd=reader, adapters=adapters)
    os.write(writer, TOKEN.encode())
    os.close(writer)
    with started("postil.serving", spec, pass_fds=(reader,)) as (process, ready):
        os.close(reader)
        assert ready == {"ready": True, "address": f"unix:{path}", "pid": process.pid}
        assert path.stat().st_mode & 0o777 == 0o600
        command_line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert TOKEN.encode() not in command_line + environment
        transport = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=transport, base_url="http://private", timeout=60) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/control/state").status_code == 401
            client.headers["authorization"] = f"Bearer {TOKEN}"
            assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["starter", "ft:shop"]
            assert client.get("/control/state").json()["pid"] == process.pid
            body = {"model": "ft:shop", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
            assert client.post("/v1/chat/completions", json=body).status_code == 200
        process.terminate()
        assert process.wait(15) == 0
        assert not path.exists()


def test_it_does_not_outlive_its_parent(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    spec = write_spec(tmp_path, control_token_file=str(token), exit_with_parent=True)
    with started("postil.serving", spec) as (process, ready):
        assert httpx2.get(f"{ready['address']}/healthz").status_code == 200
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(15) == 0


def test_it_ends_cleanly_while_its_parent_lives(tmp_path: Path) -> None:
    """The thread that waits for the parent's end is in the middle of reading then."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    spec = write_spec(tmp_path, control_token_file=str(token), exit_with_parent=True)
    with started("postil.serving", spec) as (process, ready):
        assert ready["ready"]
        process.terminate()
        assert process.wait(15) == 0
        assert "Fatal" not in process.stderr.read()  # type: ignore[union-attr]


def test_a_start_that_fails_says_why_and_exits_as_the_shell_does(tmp_path: Path) -> None:
    bad = [{"id": "a", "directory": str(tmp_path)}]
    with started("postil.serving", write_spec(tmp_path, adapters=bad)) as (process, answer):
        assert answer["ready"] is False and answer["error"]["code"] == "manifest.no_adapter"
        assert answer["error"]["message"] and answer["error"]["hint"]
        assert process.wait(30) == MISSING


def test_specs_are_read_strictly(tmp_path: Path) -> None:
    whole = read_spec(Path(write_spec(tmp_path, threads=2, adapters=[{"id": "a", "directory": "/x"}], socket=None)))
    assert (whole.base, whole.threads, whole.adapters[0].id, whole.port) == ("starter", 2, "a", 0)
    for entry in ({"thread": 2}, {"threads": "2"}, {"threads": True}, {"port": None}, {"adapters": [{"id": 1}]}):
        with pytest.raises(UsageError) as caught:
            read_spec(Path(write_spec(tmp_path, **entry)))
        assert str(tmp_path / "spec.json") in str(caught.value)
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(UsageError):
        read_spec(tmp_path / "spec.json")


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o644)
    with pytest.raises(NotAllowedError):
        read_control_token(ServingSpec(control_token_file=str(path)))
    path.chmod(0o600)
    assert read_control_token(ServingSpec(control_token_file=str(path))) == TOKEN
    path.write_text(" \n")
    with pytest.raises(UsageError):
        read_control_token(ServingSpec(control_token_file=str(path)))
    path.unlink()
    with pytest.raises(MissingInputError):
        read_control_token(ServingSpec(control_token_file=str(path)))
    assert read_control_token(ServingSpec()) is None


def test_postil_serve_answers_the_example_it_prints(folders: dict[str, Path]) -> None:
    """Base first, any key; Ctrl-C ends it cleanly."""
    arguments = ["postil", "serve", "--port", "0", "--json", "--adapter", f"shop={folders['shop']}"]
    with started(*arguments) as (process, ready):
        assert ready["models"] == ["starter", "shop"]
        client = openai.OpenAI(base_url=f"{ready['address']}/v1", api_key="any", max_retries=0)
        assert [model.id for model in client.models.list()] == ["starter", "shop"]
        messages: Any = [{"role": "user", "content": "Hello"}]
        asked: dict[str, Any] = {"model": "shop", "messages": messages, "temperature": 0, "max_tokens": 8}
        plain = client.chat.completions.create(**asked).choices[0].message.content
        chunks = client.chat.completions.create(**asked, stream=True)
        assert plain and "".join(c.choices[0].delta.content or "" for c in chunks) == plain
        assert httpx2.get(f"{ready['address']}/control/state").status_code == 404
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
        printed = process.stderr.read()  # type: ignore[union-attr]
        assert "openai import OpenAI" in printed and f"curl {ready['address']}/v1" in printed
        assert "Traceback" not in printed
