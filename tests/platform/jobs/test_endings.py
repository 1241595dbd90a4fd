"""The end of a job: adapter and bill together, a wish at the last moment, a full disk, a result that is not whole."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from postil.advice.estimate import Estimate
from postil.advice.rates import Range
from postil.config import RunConfig
from postil.data.examples import Example
from postil.errors import CannotWriteError
from postil.models.devices import peak_memory_bytes
from postil.platform.jobs.endings import (
    WorkingJob,
    count_oom_kills,
    find_ending,
    note_oom_kills,
    publish_job,
    tidy,
)
from postil.platform.jobs.jobs import request_cancel, run_folder
from postil.platform.jobs.progress_reading import RunReader
from postil.platform.jobs.views import get_job
from postil.platform.money import ledger
from postil.platform.service import Service
from postil.platform.store.storage import LocalStorage
from postil.platform.store.tables import Adapter, Job
from postil.problems import Place
from postil.recipes.launch import attempt_folder
from postil.recipes.lora_sft import train_lora
from postil.recipes.row_tokens import write_row_tokens
from postil.testing.tiny import make_tiny_model
from tests.adapters import make_adapter
from tests.platform.rows import add_account, new_job


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("made") / "adapter", "starter")


Finished = Callable[[], tuple[WorkingJob, Path]]


@pytest.fixture
def finished(service: Service, adapter: Path) -> Finished:
    """A job whose run is done and that is about to be published: 1200 rows of 100 tokens, seen twice."""

    def make() -> tuple[WorkingJob, Path]:
        account = add_account(service)
        job = new_job(service, account, state="publishing", attempt=1, slot="cpu-0", progress={"step": 600})
        with service.database.writing() as session:
            session.add(job)
            session.flush()
            ledger.reserve(session, service, job, [100] * 1200, 2)
        folder = run_folder(service, job.id)
        shutil.copytree(adapter, folder / "adapter")
        (folder / "checkpoints").mkdir()
        examples = [Example(Place("q.csv", row + 1), (1,) * 100, (1,) * 100) for row in range(1200)]
        write_row_tokens(folder, examples, RunConfig().replace({"training.batch_rows": 4}).training)
        return WorkingJob(job.id, account, "publishing", 1, "", "cpu-0", None, None), folder

    return make


def publish(service: Service, working: WorkingJob, folder: Path) -> str:
    return publish_job(service, working, folder, RunReader(folder))


def adapters_of(service: Service, job_id: str) -> list[Adapter]:
    with service.database.reading() as session:
        return list(session.scalars(select(Adapter).where(Adapter.job_id == job_id)))


def test_adapter_and_bill_come_together_and_once(service: Service, finished: Finished) -> None:
    working, folder = finished()
    assert publish(service, working, folder) == "succeeded"
    assert publish(service, working, folder) == "succeeded"
    (made,) = adapters_of(service, working.id)
    assert service.storage.exists(made.storage_key)
    view = get_job(service, working.account_id, working.id)
    assert view.adapter_id == made.id and view.cost_micro == 200 * 100 * 2 * 30_000 // 1000
    tidy(service, working.id, folder)
    assert not (folder / "checkpoints").exists() and not (folder / "adapter").exists() and folder.exists()


def test_the_grade_has_the_memory_that_a_real_run_took(service: Service, finished: Finished, tmp_path: Path) -> None:
    data = tmp_path / "shop.csv"
    data.write_text("question,answer\n" + "".join(f"What is item {n}?,It is number {n}.\n" for n in range(12)), "utf-8")
    settings = {
        "data.file": str(data),
        "model.base": str(make_tiny_model(tmp_path / "tiny", "qwen3")),
        "model.device": "cpu",
        "training.max_steps": 4,
        "evaluation.max_answers": 0,
        "output.dir": str(tmp_path / "run"),
    }
    train_lora(RunConfig().replace(settings))
    reader = RunReader(tmp_path / "run")
    assert reader.peak_memory_bytes is None and reader.read()
    working, folder = finished()
    said = Estimate("cpu", 4, 400, 1, Range(1, 9), {"train": Range(1, 9)}, Range(1e8, 2e9), False)
    assert publish_job(service, replace(working, estimate=said), folder, reader) == "succeeded"
    actual = get_job(service, working.account_id, working.id).actual
    assert actual is not None and actual["grade"]["said_memory_bytes"] == {"low": 1e8, "high": 2e9}
    used, now = reader.peak_memory_bytes, peak_memory_bytes("cpu")
    assert used is not None and now is not None and 100e6 < used < now + 1e6
    assert actual["grade"]["used_memory_bytes"] == used


def test_a_wish_to_cancel_at_the_last_moment(service: Service, finished: Finished) -> None:
    """F8: what was trained is paid, and no adapter is half there."""
    working, folder = finished()
    assert request_cancel(service, working.account_id, working.id).wish == "cancel"
    assert publish(service, working, folder) == "cancelled"
    assert not adapters_of(service, working.id)
    assert not service.storage.exists("adapters/ad_" + working.id.removeprefix("job_"))
    with service.database.reading() as session:
        assert set(ledger.lines_of(session, working.id)) == {"estimate", "reserve", "settle", "release"}


def test_a_full_disk_leaves_the_job_as_it_is(
    service: Service, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, folder = finished()

    def full(self: object, key: str, source: Path) -> None:
        raise CannotWriteError("platform.storage.cannot_write", path=key, reason="no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write_folder", full)
        with pytest.raises(CannotWriteError):
            publish(service, working, folder)
    assert get_job(service, working.account_id, working.id).state == "publishing"
    assert publish(service, working, folder) == "succeeded"


def test_a_result_that_is_not_whole_is_trained_again(service: Service, finished: Finished) -> None:
    working, folder = finished()
    (folder / "adapter" / "postil.json").unlink()
    (folder / "result.json").write_text("{}", "utf-8")
    assert publish(service, working, folder) == "queued"
    assert not (folder / "result.json").exists()
    with service.database.reading() as session:
        job = session.get_one(Job, working.id)
        assert job.retries == 1 and job.not_before is not None and job.slot is None


def test_how_a_run_ended_that_left_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "job"
    assert find_ending(folder, 1, RunReader(folder)).cause == "lost"
    note_oom_kills(folder, 1)
    assert find_ending(folder, 1, RunReader(folder)).cause == "killed"
    (attempt_folder(folder, 1) / "stderr").write_text("Fatal Python error: Segmentation fault\n", "utf-8")
    assert find_ending(folder, 1, RunReader(folder)).cause == "own"
    (attempt_folder(folder, 1) / "stderr").unlink()
    monkeypatch.setattr("postil.platform.jobs.endings.count_oom_kills", lambda: count_oom_kills() + 1)
    assert find_ending(folder, 1, RunReader(folder)).cause == "killed_for_memory"
