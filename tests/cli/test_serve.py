"""What `postil serve` refuses, before anything is loaded; its answers are tested in tests/serving."""

import pickle
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from postil.cli.app import main
from tests.adapters import make_adapter


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host", "0.0.0.0"], 64, "--api-key-file"),
        (["--host", "192.168.1.5"], 64, "--api-key-file"),
        (["--host", "example.org"], 64, "--api-key-file"),
        (["--adapter", "no-folder"], 64, "NAME=DIR"),
        (["--adapter", "=x"], 64, "NAME=DIR"),
        (["--port", "99999"], 64, "--port"),
        (["--adapter", "x=/nowhere/at/all"], 66, "/nowhere/at/all"),
        (["--base", "/nowhere/at/all"], 66, "/nowhere/at/all"),
        (["--api-key-file", "/nowhere/at/all"], 66, "/nowhere/at/all"),
    ],
)
def test_it_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str) -> None:
    assert main(["serve", *([] if "--port" in arguments else ["--port", "0"]), *arguments]) == code
    assert said in capsys.readouterr().err


def test_short_keys_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    for text in ("", "# only a note\n", "short\n"):
        file.write_text(text)
        assert main(["serve", "--port", "0", "--api-key-file", str(file)]) == 64
        assert str(file) in capsys.readouterr().err


def test_a_taken_port_is_said_before_the_base_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--base", "/nowhere"]) == 69
    said = capsys.readouterr().err
    assert port in said and "--port" in said and "/nowhere" not in said


def test_no_pickle_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with nothing but pickles beside its config is refused for what it lacks."""
    marker = tmp_path / "opened"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    folder = make_adapter(tmp_path / "adapter", "starter")
    (folder / "adapter_model.safetensors").unlink()
    for name in ("adapter_model.bin", "adapter_model.pt", "optimizer.pt", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    assert main(["serve", "--port", "0", "--adapter", f"x={folder}"]) == 66
    assert "adapter_model.safetensors" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert not marker.exists()
