"""Reports of runs: read for the owner of the job, as a real run left them; damaged ones are none."""

import json
import shutil
from pathlib import Path

import pytest

from postil.errors import MissingInputError
from postil.platform.jobs.jobs import run_folder
from postil.platform.jobs.reports import find_report
from postil.platform.service import Service
from tests.platform.rows import add_account
from tests.platform.trained import Trained, add_job, train_tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def job(service: Service, trained: Trained) -> tuple[str, str, Path]:
    """An account, its job, and the job's report."""
    mei = add_account(service)
    job_id = add_job(service, mei, state="succeeded", ended_at=service.now())
    folder = run_folder(service, job_id)
    folder.mkdir(parents=True)
    return mei, job_id, Path(shutil.copy(trained.folder / "report.json", folder))


def test_a_report_has_both_answers_and_the_rows_that_got_worse(service: Service, job: tuple[str, str, Path]) -> None:
    mei, job_id, file = job
    report, kept = find_report(service, mei, job_id), json.loads(file.read_text("utf-8"))
    assert report is not None
    assert [a.tuned for a in report.answers] == [a["tuned"] for a in kept["answers"]]
    assert report.num_rows == 8 == len(report.answers)
    assert (
        report.num_worse == len(report.worse) == sum(a["loss_tuned"] > 1.02 * a["loss_base"] for a in kept["answers"])
    )
    assert {a.where for a in report.answers} <= {f"row {n}" for n in range(2, 42)}


def test_nobody_else_reads_it(service: Service, job: tuple[str, str, Path]) -> None:
    other = add_account(service, "other")
    with pytest.raises(MissingInputError):
        find_report(service, other, job[1])


def test_a_report_of_an_older_version_has_no_worse_rows(service: Service, job: tuple[str, str, Path]) -> None:
    mei, job_id, file = job
    kept = json.loads(file.read_text("utf-8"))
    for name in ("worse", "num_worse", "num_rows"):
        del kept[name]
    for answer in kept["answers"]:
        del answer["file"]
    file.write_text(json.dumps(kept), "utf-8")
    report = find_report(service, mei, job_id)
    assert report is not None and report.num_worse is None and report.worse == ()
    assert report.answers and report.answers[0].where == ""


def test_what_the_run_has_judged_right_stands_and_an_older_report_is_judged_anew(
    service: Service, job: tuple[str, str, Path]
) -> None:
    """Only the run knows which words carry a fact in its file."""
    mei, job_id, file = job
    kept = json.loads(file.read_text("utf-8"))
    assert kept["base_right"] == sum(a["base_is_right"] for a in kept["answers"])
    judged, old = kept["answers"][:2]
    judged |= {"base": judged["expected"], "base_is_right": False, "tuned_is_right": True}
    for name in ("base_is_right", "tuned_is_right"):
        del old[name]
    old["base"] = old["expected"]
    file.write_text(json.dumps(kept), "utf-8")
    report = find_report(service, mei, job_id)
    assert report is not None
    assert (report.answers[0].base_is_right, report.answers[0].tuned_is_right) == (False, True)
    assert report.answers[1].base_is_right


@pytest.mark.parametrize("text", ["", "{", "[]", '{"answers": [{"question": "x"}]}', '{"answers": null}', "\x00"])
def test_what_cannot_be_read_is_no_report(service: Service, job: tuple[str, str, Path], text: str) -> None:
    mei, job_id, file = job
    file.write_text(text, "utf-8")
    assert find_report(service, mei, job_id) is None
    file.unlink()
    assert find_report(service, mei, job_id) is None
