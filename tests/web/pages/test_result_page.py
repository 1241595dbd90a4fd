"""What came out: the verdict with its evidence, before and after, and what may be done with a model of one's own."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from postil.platform.adapters import adapters
from postil.platform.adapters.adapters import note_used
from postil.platform.jobs.reports import RunReport, WorseRow, find_report
from postil.platform.jobs.views import get_job
from postil.platform.service import Service
from postil.problems import ADDED, Place
from postil.web.pages.result import Step, evidence_lines, measured_lines, next_steps
from tests.platform.adapters.test_adapters import publish, write_adapter
from tests.platform.rows import add_dataset
from tests.platform.trained import Trained, add_job, add_result, train_tiny
from tests.web.pages.reading import account_of, text_of

METRICS = {
    "heldout_loss_base": 4.2,
    "heldout_loss_tuned": 1.13,
    "interval": [2.5, 3.625],
    "heldout_questions": 24,
    "answers": 24,
    "base_right": 0,
    "tuned_right": 17,
    "tuned_not_stopped": 0,
    "heldout_rows": 30,
    "heldout_worse": 2,
    "verdict": "better",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_result_shows_its_verdict_the_answers_and_the_next_step(
    anna: TestClient, service: Service, trained: Trained
) -> None:
    account = account_of(anna)
    data = add_dataset(service, account)
    grade = {"said_seconds": {"low": 5, "high": 9}, "took_seconds": 7.0, "is_within": True, "seconds_error": 0.0}
    actual = {"seconds": 7.0, "price_micro": 0, "grade": grade}
    entries: dict[str, Any] = {"name": "shop & co", "dataset_id": data, "actual": actual, "spec": {"rows": 40}}
    job, adapter = add_result(service, account, trained, **entries)
    view, report = adapters.get_adapter(service, account, adapter), find_report(service, account, job)
    assert report is not None
    page = anna.get(f"/models/{adapter}").text
    words = text_of(page)
    assert "shop &amp; co" in page and page.count("<h1") == 1
    for line in (*evidence_lines(view.metrics), *measured_lines(view.metrics)):
        assert line in words
    for row in report.worse:
        assert row.place is not None
        assert f'href="/data/{data}/row?file=questions.csv&amp;row={row.place.row}">{row.where}</a>' in page
    for answer in report.answers:
        assert answer.question in words and answer.expected in words
    assert "Before and after" in words and "Where it got worse" in words
    assert f'class="button big" href="/models/{adapter}/try"' in page and f'href="/models/{adapter}/use"' in page
    assert f'href="/api/adapters/{adapter}/download"' in page and f'href="/jobs/{job}"' in page
    assert "That was within what was said before" in words
    assert (
        "with 100 or more in all the answers become better" in words and "It has learned from 32, and 8 were" in words
    )
    assert "40 (32 learned, 8 kept aside)" in words and f'href="/data/{data}"' in page
    assert "style=" not in page


def test_a_shared_model_shows_no_data(anna: TestClient, berta: TestClient, service: Service, trained: Trained) -> None:
    account = account_of(anna)
    _, adapter = add_result(service, account, trained, name="shop")
    assert berta.get(f"/models/{adapter}").status_code == 404
    anna.post(f"/api/adapters/{adapter}/shares", json={"account": "berta"})
    page = berta.get(f"/models/{adapter}").text
    words = text_of(page)
    assert "anna shares this model with you" in words and f'href="/models/{adapter}/try"' in page
    assert "How far off the answers are" in words
    assert "What is item" not in words and "Before and after" not in words and "What to do next" not in words
    assert "/rename" not in page and "/delete" not in page and "/jobs/" not in page
    for form in ("rename", "delete"):
        assert berta.post(f"/models/{adapter}/{form}", data={"name": "mine"}).status_code == 404
    assert berta.get(f"/models/{adapter}/delete").status_code == 404
    assert berta.post(f"/models/{adapter}/leave", follow_redirects=False).headers["location"] == "/models"
    assert berta.get(f"/models/{adapter}").status_code == 404 and anna.get(f"/models/{adapter}").status_code == 200


def test_the_numbers_stay_when_the_training_is_deleted(anna: TestClient, service: Service, trained: Trained) -> None:
    job, adapter = add_result(service, account_of(anna), trained)
    anna.post(f"/jobs/{job}/delete")
    words = text_of(anna.get(f"/models/{adapter}").text)
    assert "How far off the answers are" in words and "which has been deleted" in words and "What is item" not in words


def test_an_adapter_of_an_older_version_has_a_page(anna: TestClient, service: Service, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_adapter(folder)
    adapter = publish(service, account_of(anna), folder, name="old", state="succeeded")
    words = text_of(anna.get(f"/models/{adapter}").text)
    assert "It got better." in words and "How far off" not in words


def test_rename(anna: TestClient, service: Service, trained: Trained) -> None:
    account = account_of(anna)
    _, adapter = add_result(service, account, trained, name="one")
    add_result(service, account, trained, name="two")
    taken = anna.post(f"/models/{adapter}/rename", data={"name": "two"})
    assert taken.status_code == 409 and 'value="two"' in taken.text and 'role="alert"' in taken.text
    assert anna.post(f"/models/{adapter}/rename", data={"name": "  "}).status_code == 422
    assert "客服" in anna.post(f"/models/{adapter}/rename", data={"name": "客服"}).text
    assert adapters.get_adapter(service, account, adapter).name == "客服"


def test_what_is_in_use_is_deleted_only_when_that_is_said_twice(
    anna: TestClient, service: Service, trained: Trained
) -> None:
    account = account_of(anna)
    _, adapter = add_result(service, account, trained, name="one")
    asked = anna.get(f"/models/{adapter}/delete").text
    assert "Delete one?" in asked and 'name="force"' not in asked
    note_used(service, adapter)
    refused = anna.post(f"/models/{adapter}/delete")
    assert refused.status_code == 409 and 'name="force"' in refused.text
    done = anna.post(f"/models/{adapter}/delete", data={"force": "1"}, follow_redirects=False)
    assert done.headers["location"] == "/models"
    assert anna.get(f"/models/{adapter}").status_code == 404


def test_evidence_is_told_without_minus_signs() -> None:
    lines, numbers = evidence_lines(METRICS), measured_lines(METRICS)
    assert lines[0] == "17 of 24 answers are nearly word for word right; before: 0."
    assert lines[-1] == "Further off than before: 2 of 30 rows kept aside." and len(lines) == 2
    assert numbers[0] == "How far off the answers are on average: 4.2 before, 1.13 now."
    assert numbers[1] == "They came closer: by 2.5 at least and by 3.62 at most." and "24 questions" in numbers[2]
    further = measured_lines({**METRICS, "interval": [-2.0, -0.5]})
    assert further[1] == "They went further off: by 0.5 at least and by 2 at most."
    either = measured_lines({**METRICS, "interval": [-0.25, 0.75]})[1]
    assert either == "The change lies somewhere between 0.25 further off and 0.75 closer."
    assert not any("-" in line for line in further)


def test_answers_that_were_learned_under_another_question_are_said() -> None:
    lines = evidence_lines({**METRICS, "answers_learned": 20})
    assert lines[1] == "20 of these 24 answers also stand in rows that were learned, asked in other words."
    assert evidence_lines({**METRICS, "answers_learned": 0}) == evidence_lines(METRICS)


def test_evidence_that_is_not_there_is_not_made_up() -> None:
    assert evidence_lines({}) == ()
    assert "fewer than 30 rows" in evidence_lines({"heldout_loss_base": None, "heldout_loss_tuned": None})[0]
    few = evidence_lines({**METRICS, "interval": None, "answers": 0, "heldout_worse": 0})
    assert few == () and len(measured_lines({**METRICS, "interval": None})) == 1
    broken = {**METRICS, "heldout_loss_tuned": float("nan")}
    assert evidence_lines(broken) == () == measured_lines(broken)


def test_what_to_do_next_follows_from_the_result(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    data = add_dataset(service, account)
    job_id = add_job(service, account, dataset_id=data, spec={"rows": 500, "preset": "recommended"})
    job, report = get_job(service, account, job_id), RunReport((), 20, 0, ())

    def names(verdict: str, **changed: Any) -> list[str]:
        return [step.sentence for step in next_steps(verdict, replace(job, **changed), report)]

    assert names("better") == ["enough"]
    assert names("better", spec={"rows": 60}) == ["more_rows"]
    assert names("worse") == ["wordings", "thorough", "larger"]
    assert names("same", spec={"rows": 500, "preset": "thorough"}) == ["wordings", "larger"]
    assert next_steps("better", job, replace(report, num_worse=3))[0].path == f"/data/{data}"
    worse = WorseRow("Q", "A", 1.0, 2.0, "row 7", Place("shop & co.xlsx", 7, "FAQ"))
    mend = next_steps("better", job, replace(report, num_worse=1, worse=(worse,)))[0]
    assert mend == Step("mend_rows", f"/data/{data}/row?file=shop+%26+co.xlsx&sheet=FAQ&row=7", "to_row")
    added = replace(worse, place=Place(ADDED, 1))
    assert next_steps("better", job, replace(report, num_worse=1, worse=(added,)))[0].label == "to_data"
    assert next_steps("worse", None, None) == ()


def test_chinese(anna: TestClient, service: Service, trained: Trained) -> None:
    _, adapter = add_result(service, account_of(anna), trained)
    anna.post("/language", data={"language": "zh"})
    page = anna.get(f"/models/{adapter}").text
    words = unescape(re.sub(r"<[^>]+>", " ", page))
    for expected in ("前后对比", "哪里变差了", "试一试", "重命名"):
        assert expected in words
    assert "Before and after" not in words
