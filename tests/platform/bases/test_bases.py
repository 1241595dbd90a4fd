"""Bases: what may be trained here, who fits, and downloads that survive everything. Both hubs are on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postil.errors import ConflictError, MissingInputError, PostilError, UnavailableError, UsageError
from postil.models.memory import gigabytes
from postil.platform.bases import bases
from postil.platform.bases import downloads as base_downloads
from postil.platform.bases.bases import (
    BaseView,
    allow_base,
    allow_folder,
    forbid_base,
    get_base,
    list_bases,
    start_download,
)
from postil.platform.bases.downloads import tend_downloads
from postil.platform.bases.this_machine import MachineMemory
from postil.platform.service import Service
from postil.platform.store.tables import BaseModelEntry
from postil.testing.hub import COMMIT, LoopbackHub, run_hub
from postil.testing.tiny import make_tiny_model
from tests.platform.conftest import NewService
from tests.platform.dataset_lives import new_account

MODEL = "acme/tiny"
TIME_LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("bases") / "tiny", "qwen3")


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as the service's own processes are
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("POSTIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(base_downloads, "_WORK", base_downloads._Work())
    monkeypatch.setattr(base_downloads, "WRITE_SECONDS", 0.0)
    with run_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        server.add_folder(MODEL, tiny)
        server.models[MODEL] |= {"modeling_acme.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
        yield server


def tend_until(service: Service, is_done: Callable[[BaseView], bool], name: str = MODEL) -> BaseView:
    """Runs the supervisor's loop."""
    end = time.monotonic() + TIME_LIMIT_SECONDS
    while time.monotonic() < end:
        tend_downloads(service)
        view = get_base(service, name)
        if is_done(view):
            return view
        time.sleep(0.05)
    raise AssertionError(f"still {view.state} after {TIME_LIMIT_SECONDS} s: {view}")


def wait_for_nobody(service: Service) -> None:
    thread = base_downloads._WORK.thread
    if thread is not None:
        thread.join(TIME_LIMIT_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["hf", "modelscope"])
def test_fetched_checked_and_ready(service: Service, hub: LoopbackHub, kind: str) -> None:
    with pytest.raises(MissingInputError):
        start_download(service, MODEL)  # nobody has allowed it
    assert allow_base(service, MODEL, hub=kind).state == "absent"
    assert start_download(service, MODEL).state == "waiting"
    view = tend_until(service, lambda v: v.state not in ("waiting", "downloading"))
    assert (view.state, view.error, view.family, view.percent) == ("ready", None, "qwen3", 100)
    assert view.path is not None
    files = {p.name for p in Path(view.path).iterdir() if not p.name.startswith(".")}
    assert "model.safetensors" in files and not any(name.endswith((".py", ".bin")) for name in files)
    assert view.num_parameters > 0 and view.bytes_to_train > 0 and view.fits == "train"
    if kind == "hf":
        assert view.revision == COMMIT
    hub.requests.clear()
    assert start_download(service, MODEL).state == "ready" and not tend_downloads(service)
    assert hub.requests == []


def test_progress_is_told_while_it_runs(service: Service, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_downloads, "_run_child", fake_child)
    allow_base(service, MODEL)
    start_download(service, MODEL)
    seen = []
    monkeypatch.setattr(base_downloads, "_note_progress", lambda wanted, done: seen.append(get_base(service, MODEL)))
    tend_until(service, lambda v: v.state == "failed")
    assert [(v.state, v.done_bytes, v.num_bytes, v.percent) for v in seen] == [
        ("downloading", 10, 40, 25),
        ("downloading", 30, 40, 75),
    ]


def fake_child(wanted: object) -> Iterator[dict[str, object]]:
    yield {"total": 40, "done": 10}
    yield {"total": 40, "done": 30}
    yield {"error": {"key": "models.gated", "values": {"model": MODEL, "endpoint": "x"}}, "may_pass": False}


def test_refusals_of_the_hub_are_kept_and_told(service: Service, hub: LoopbackHub) -> None:
    hub.gated.add(MODEL)
    allow_base(service, MODEL)
    start_download(service, MODEL)
    view = tend_until(service, lambda v: v.state == "failed")
    assert view.error is not None and view.error.key == "models.gated" and "HF_TOKEN" in view.error.hint
    hub.gated.clear()
    assert start_download(service, MODEL).error is None
    assert tend_until(service, lambda v: v.state in ("ready", "failed")).state == "ready"


def test_code_in_a_fetched_model_is_refused(service: Service, hub: LoopbackHub) -> None:
    config = json.loads(hub.models[MODEL]["config.json"])
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_acme.Model"}
    hub.models[MODEL]["config.json"] = json.dumps(config).encode()
    allow_base(service, MODEL)
    start_download(service, MODEL)
    view = tend_until(service, lambda v: v.state in ("ready", "failed"))
    assert view.state == "failed" and view.error is not None and view.error.key == "models.remote_code"


def test_broken_downloads_are_tried_again_while_they_bring_something(
    new_service: NewService, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = new_service(retry_seconds=(0.0, 0.0))
    reached = [10, 20, 30, 30, 30]  # three times something, then nothing any more
    tried: list[int] = []

    def break_off(wanted: object) -> Iterator[dict[str, object]]:
        tried.append(reached[len(tried)])
        yield {"total": 40, "done": tried[-1]}
        yield {"error": {"key": "models.download_broken", "values": {"model": MODEL, "reason": "x"}}, "may_pass": True}

    monkeypatch.setattr(base_downloads, "_run_child", break_off)
    allow_base(service, MODEL)
    start_download(service, MODEL)
    view = tend_until(service, lambda v: v.state == "failed")
    assert tried == reached
    assert view.error is not None and view.error.key == "models.download_broken"


def test_taken_up_again_after_kill_9_of_the_supervisor(service: Service, hub: LoopbackHub, tmp_path: Path) -> None:
    """The supervisor is a process of its own here; it dies while the large file is on its way."""
    allow_base(service, MODEL)
    weights = bytes(64 << 20)
    header = json.dumps({"w": {"dtype": "F32", "shape": [16 << 20], "data_offsets": [0, 64 << 20]}}).encode()
    hub.models[MODEL]["model.safetensors"] = len(header).to_bytes(8, "little") + header + weights
    hub.breaks["model.safetensors"] = 3  # so that it lasts a little
    start_download(service, MODEL)
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from postil.platform.settings import load_settings\nfrom postil.platform.service import open_service\n"
        "from postil.platform.bases.downloads import tend_downloads\n"
        "service = open_service(load_settings(Path(sys.argv[1]), {'database_url': sys.argv[2] or None}))\n"
        "while True:\n    tend_downloads(service)\n    time.sleep(0.02)\n"
    )
    settings = service.settings
    command = [sys.executable, "-c", code, str(settings.data_dir), settings.database_url or ""]
    first = subprocess.Popen(command)
    try:
        end = time.monotonic() + TIME_LIMIT_SECONDS
        while not list(tmp_path.rglob("*.part")) and time.monotonic() < end:
            time.sleep(0.01)
        assert list(tmp_path.rglob("*.part"))
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert get_base(service, MODEL).state == "downloading"
    view = tend_until(service, lambda v: v.state in ("ready", "failed"))
    assert view.state == "ready", view.error
    assert view.path and (Path(view.path) / "model.safetensors").stat().st_size == len(weights) + 8 + len(header)
    assert any(asked for asked in hub.ranges("model.safetensors"))  # it went on where it had stopped


def test_a_killed_child_is_started_again(new_service: NewService, hub: LoopbackHub) -> None:
    service = new_service(retry_seconds=(0.0, 0.0, 0.0))
    allow_base(service, MODEL)
    start_download(service, MODEL)
    real, killed = base_downloads._run_child, []

    def run_and_die(wanted: object) -> Iterator[dict[str, object]]:
        if killed:
            yield from real(wanted)
            return
        killed.append(True)
        yield {"total": 10, "done": 1}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_downloads, "_run_child", run_and_die)
        view = tend_until(service, lambda v: v.state in ("ready", "failed"))
    assert killed and view.state == "ready"


def test_forbidden_while_it_is_fetched(service: Service, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_base(service, MODEL)
    start_download(service, MODEL)

    def forbid_meanwhile(wanted: object) -> Iterator[dict[str, object]]:
        forbid_base(service, MODEL)
        yield {"total": 10, "done": 1}
        yield {"path": "/nowhere", "revision": None, "facts": {"stored_bytes": 1}}

    monkeypatch.setattr(base_downloads, "_run_child", forbid_meanwhile)
    tend_downloads(service)
    wait_for_nobody(service)
    with pytest.raises(MissingInputError):
        get_base(service, MODEL)
    view = next(v for v in list_bases(service, all_known=True) if v.name == MODEL)
    assert view.state == "absent" and not view.is_allowed and view.path is None


URLS = [
    "http://127.0.0.1:9/x",
    "https://evil.example/a/b",
    "//evil.example/a",
    "file:///etc/passwd",
    "s3://bucket/model",
    "../../etc",
    "a/../b",
    "a/b/../../c",
    "/etc/passwd",
    "a//b",
    "a/b?revision=x",
    "a/b#x",
    "a/b%2f..",
    "user@evil.example/a",
    "a\\b/c",
    "a/b\n",
    "a/b\x00",
    "a b/c",
    "169.254.169.254/latest/meta",
    "a/..",
    "./a",
    "~/a",
    "--upload/a",
    "-a/b",
    "a/" + "b" * 300,
    "",
    "a",
    "组织/模型",
]


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_addresses_and_paths_are_no_ids(service: Service, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        allow_base(service, name)
    assert caught.value.key == "platform.bases.no_hub_id"
    with pytest.raises(MissingInputError):
        start_download(service, name)
    with pytest.raises(MissingInputError):
        get_base(service, name)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_hubs_and_revisions_are_checked(service: Service) -> None:
    for wrong in ({"hub": "http://evil"}, {"revision": "../x"}, {"revision": ""}, {"revision": "a" * 101}):
        with pytest.raises(UsageError):
            allow_base(service, MODEL, **wrong)
    with pytest.raises(UsageError):
        start_download(service, "Qwen3-0.6B", hub="ftp")


def test_the_catalog_is_there_from_the_first_day(service: Service) -> None:
    views = list_bases(service)
    assert views[0].is_recommended and {"starter", "Qwen/Qwen3-0.6B"} <= {v.name for v in views}
    starter = get_base(service, "starter")
    assert (starter.state, starter.source) == ("ready", "package") and starter.description
    assert start_download(service, "starter").state == "ready"
    assert get_base(service, "qwen3-0.6b").name == "Qwen/Qwen3-0.6B"
    with pytest.raises(ConflictError):
        forbid_base(service, "starter")
    forbid_base(service, "Qwen/Qwen3-0.6B")
    assert "Qwen/Qwen3-0.6B" not in {v.name for v in list_bases(service)}
    assert allow_base(service, "Qwen3-0.6B").is_allowed


def test_what_fits_is_said_in_words(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    small = MachineMemory("cpu", 4, 4_000_000_000)
    monkeypatch.setattr(bases, "find_memory", lambda: small)
    by_name = {v.name: v for v in list_bases(service)}
    assert by_name["starter"].fits == "train" and by_name["Qwen/Qwen2.5-14B-Instruct"].fits == "no"
    large = by_name["Qwen/Qwen2.5-14B-Instruct"]
    assert gigabytes(large.bytes_to_train) in large.fits_in_words and "4 GB" in large.fits_in_words
    monkeypatch.setattr(bases, "find_memory", lambda: MachineMemory("cuda", 2, 140_000_000_000))
    assert {v.fits for v in list_bases(service)} == {"train"}


def test_a_folder_that_an_admin_allows(service: Service, tiny: Path, tmp_path: Path) -> None:
    view = allow_folder(service, str(tiny), name="店铺 base")
    assert (view.state, view.source, view.path, view.family) == ("ready", "folder", str(tiny), "qwen3")
    again = allow_folder(service, str(tiny), name="店铺 base")
    assert replace(again, memory_bytes=view.memory_bytes) == view
    with service.database.reading() as session:
        row = session.query(BaseModelEntry).one()
        assert row.facts["num_parameters"] == view.num_parameters
    with pytest.raises(ConflictError):
        other = tmp_path / "other"
        os.symlink(make_tiny_model(tmp_path / "real", "qwen3"), other)
        allow_folder(service, str(other), name="店铺 base")
    linked = allow_folder(service, str(other), name="linked")
    assert linked.path == str(tmp_path / "real")  # where the link led when it was allowed


def test_folders_that_are_refused(service: Service, tiny: Path, tmp_path: Path) -> None:
    inside = service.settings.data_dir / "storage"
    inside.mkdir(exist_ok=True)
    code = make_tiny_model(tmp_path / "code", "qwen3")
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "x.Y"}}))
    (code / "x.py").write_text("raise SystemExit")
    pickles = make_tiny_model(tmp_path / "pickles", "qwen3")
    (pickles / "model.safetensors").rename(pickles / "pytorch_model.bin")
    refused: list[tuple[str, str | None, type[PostilError]]] = [
        ("relative/path", None, UsageError),
        ("~/models", None, UsageError),
        ("https://evil.example/x", None, UsageError),
        (str(tmp_path / "none"), None, MissingInputError),
        ("/\0", None, MissingInputError),
        (str(tmp_path), "empty", MissingInputError),
        (str(inside), "inside", UsageError),
        (str(code), None, UnavailableError),
        (str(pickles), None, UnavailableError),
        (str(tiny), "a/b", UsageError),
        (str(tiny), "starter", UsageError),
        (str(tiny), "Qwen3-0.6B", UsageError),
        (str(tiny), "", UsageError),
        (str(tiny), "x\ny", UsageError),
    ]
    for folder, name, error in refused:
        with pytest.raises(error):
            allow_folder(service, folder, name=name)
    assert {v.source for v in list_bases(service)} == {"package", "hf"}


def test_a_base_that_a_job_needs_is_not_forbidden(service: Service, tiny: Path) -> None:
    from tests.platform.datasets.test_datasets import add_job

    allow_folder(service, str(tiny), name="mine")
    account = new_account(service)
    job_id = add_job(service, account, None, "queued", base="mine")
    with pytest.raises(ConflictError) as caught:
        forbid_base(service, "mine")
    assert job_id in caught.value.message


def test_the_download_has_the_hubs_variables_and_none_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTIL_DATABASE_URL", "postgresql://canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "needed")
    environment = base_downloads._environment()
    assert "canary" not in " ".join(environment.values())
    assert environment["HF_TOKEN"] == "needed" and "HF_HUB_OFFLINE" not in environment
