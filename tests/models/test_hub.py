"""Both hubs on loopback: fetched, resumed, checked, found again, and every way in which they refuse."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.errors import CannotWriteError, MissingInputError, PostilError, TryAgainError, UnavailableError
from postil.models import download, modelscope
from postil.models import hub as hub_module
from postil.models.hub import fetch_model
from postil.testing.hub import COMMIT, LoopbackHub, run_hub

MODEL = "acme/tiny"
WEIGHTS = bytes(range(256)) * 8192  # 2 MB, so that a cut falls inside a body


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("POSTIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with run_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        server.models[MODEL] = {
            "config.json": b"{}",
            "model.safetensors": WEIGHTS,
            "modeling_acme.py": b"raise SystemExit",
            "pytorch_model.bin": b"pickle",
        }
        yield server


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


both = pytest.mark.parametrize("kind", ["hf", "modelscope"])


@both
def test_fetches_what_a_base_needs_and_nothing_that_runs(hub: LoopbackHub, kind: str) -> None:
    folder = fetch_model(MODEL, None, kind, offline=False)
    names = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    assert names == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    if kind == "hf":
        assert folder.name == COMMIT


@both
def test_second_time_downloads_nothing_and_offline_asks_nobody(hub: LoopbackHub, kind: str) -> None:
    first = fetch_model(MODEL, None, kind, offline=False)
    hub.requests.clear()
    assert fetch_model(MODEL, None, kind, offline=False) == first
    assert hub.ranges("model.safetensors") == []
    hub.requests.clear()
    assert fetch_model(MODEL, None, kind, offline=True) == first
    assert hub.requests == []


@both
def test_offline_by_environment(hub: LoopbackHub, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnavailableError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.not_downloaded" and hub.requests == []
    assert MODEL in str(caught.value)


@both
def test_broken_download_is_taken_up_where_it_broke(hub: LoopbackHub, kind: str) -> None:
    hub.breaks["model.safetensors"] = 2
    folder = fetch_model(MODEL, None, kind, offline=False)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = hub.ranges("model.safetensors")
    assert ranges[0] == "" and len(ranges) == 3
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:]]
    assert 0 < starts[0] < starts[1] < len(WEIGHTS)


@both
def test_a_later_run_takes_up_the_part_file(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    hub.breaks["model.safetensors"] = 1
    with monkeypatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 0)  # as if the program had been killed after the first break
        with pytest.raises(TryAgainError) as caught:
            fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.download_broken"
    hub.requests.clear()
    folder = fetch_model(MODEL, None, kind, offline=False)
    assert hub.ranges("model.safetensors") == [f"bytes={len(WEIGHTS) // 2}-"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@both
def test_connection_that_never_brings_a_byte_gives_up(hub: LoopbackHub, kind: str) -> None:
    hub.models[MODEL]["model.safetensors"] = b"x"  # half of one byte is none
    hub.breaks["model.safetensors"] = 99
    with pytest.raises(TryAgainError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.download_broken"
    assert len(hub.ranges("model.safetensors")) == download.ATTEMPTS


@both
def test_wrong_checksum_is_refused_and_fetched_anew(hub: LoopbackHub, kind: str) -> None:
    hub.corrupted.add("model.safetensors")
    with pytest.raises(TryAgainError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.wrong_checksum" and "model.safetensors" in caught.value.message
    with pytest.raises(UnavailableError):  # the bad file is gone, so offline must not find the model
        fetch_model(MODEL, None, kind, offline=True)
    hub.corrupted.clear()
    folder = fetch_model(MODEL, None, kind, offline=False)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@both
def test_unknown_model_and_revision(hub: LoopbackHub, kind: str) -> None:
    with pytest.raises(MissingInputError) as caught:
        fetch_model("Qwen/Qwen3-0.6", None, kind, offline=False)
    assert caught.value.key == "models.unknown_model" and "Qwen/Qwen3-0.6B" in caught.value.hint
    with pytest.raises(MissingInputError) as caught:
        fetch_model(MODEL, "v9", kind, offline=False)
    assert caught.value.key == "models.unknown_revision" and "v9" in caught.value.message


@pytest.mark.parametrize(("kind", "token"), [("hf", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")])
def test_gated_model_names_the_token(hub: LoopbackHub, kind: str, token: str) -> None:
    hub.gated.add(MODEL)
    with pytest.raises(UnavailableError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert token in caught.value.hint


@pytest.mark.parametrize(("kind", "other"), [("hf", "--hub modelscope"), ("modelscope", "--hub hf")])
def test_unreachable_hub_suggests_the_other(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str, other: str
) -> None:
    nowhere = f"http://127.0.0.1:{unused_port()}"
    monkeypatch.setenv("HF_ENDPOINT", nowhere)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", nowhere)
    with pytest.raises(UnavailableError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.hub_unreachable"
    assert nowhere in caught.value.message and other in caught.value.hint


@both
def test_unreachable_hub_falls_back_to_what_is_here(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = fetch_model(MODEL, None, kind, offline=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    assert fetch_model(MODEL, None, kind, offline=False) == folder


@both
def test_a_listing_cannot_reach_outside_the_cache(hub: LoopbackHub, tmp_path: Path, kind: str) -> None:
    hub.models[MODEL]["../../../../evil.json"] = b"{}"
    try:
        fetch_model(MODEL, None, kind, offline=False)
    except PostilError as error:
        assert error.exit_code != 70  # noqa: PT017
    assert not list(tmp_path.rglob("evil.json"))


@both
def test_disk_that_cannot_be_written(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("POSTIL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CannotWriteError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.cannot_store"


@both
def test_full_disk_is_seen_before_the_download(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for module in (hub_module, modelscope):
        monkeypatch.setattr(module, "free_disk_bytes", lambda directory: 1000)
    with pytest.raises(CannotWriteError) as caught:
        fetch_model(MODEL, None, kind, offline=False)
    assert caught.value.key == "models.disk_too_small" and hub.ranges("model.safetensors") == []
