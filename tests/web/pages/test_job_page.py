"""Trainings as pages: what is said of each state, what may be done with it, and a part that asks whether it is new."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from postil.language import say
from postil.platform.jobs.views import get_job
from postil.platform.service import Service
from postil.platform.store.tables import Job
from tests.platform.rows import add_dataset
from tests.platform.trained import Trained, add_job, add_result, train_tiny
from tests.web.pages.reading import account_of, text_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_tiny(tmp_path_factory.mktemp("tiny"))


def test_a_list_without_trainings_says_how_to_begin(anna: TestClient) -> None:
    page = anna.get("/jobs").text
    assert "Nothing has been trained yet" in page and 'href="/new"' in page and "<table" not in page


def test_the_list_says_where_each_stands_and_can_be_narrowed(
    anna: TestClient, berta: TestClient, service: Service
) -> None:
    account = account_of(anna)
    learning = {"phase": "train", "percent": 41.7, "cost_micro": 1_250_000}
    add_job(service, account, name="shop <b>", state="running", progress=learning)
    add_job(service, account, name="hotel", state="failed", ended_at=service.now())
    add_job(service, account_of(berta), name="bertas", state="running")
    page = anna.get("/jobs").text
    assert "shop &lt;b&gt;" in page and "hotel" in page and "bertas" not in page
    assert "Learning" in text_of(page) and "It did not work out" in text_of(page)
    assert 'value="42"' in page and "¥1.25" in page
    failed = anna.get("/jobs?state=failed").text
    assert "hotel" in failed and "shop" not in failed
    assert "None of your trainings" in anna.get("/jobs?state=paused").text
    assert anna.get("/jobs?state=nonsense").status_code == 422


def test_the_list_asks_again_while_one_goes_on(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    add_job(service, account, name="held", state="paused")
    assert "data-poll" not in anna.get("/jobs").text and "refresh" not in anna.get("/jobs").text
    job = add_job(service, account, name="shop", state="running", progress={"phase": "train", "percent": 41.7})
    assert 'hx-get="/jobs/rows?state=running"' in anna.get("/jobs?state=running").text
    first = anna.get("/jobs/rows")
    assert first.status_code == 200 and 'value="42"' in first.text and "<html" not in first.text
    assert anna.get("/jobs/rows", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    with service.database.writing() as session:
        ended = session.get_one(Job, job)
        ended.state, ended.ended_at = "succeeded", service.now()
    assert anna.get("/jobs/rows", headers={"if-none-match": first.headers["etag"]}).status_code == 286


def test_older_trainings_are_on_the_next_page(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    for number in range(31):
        add_job(service, account, name=f"job-{number:02}", created_at=service.now() + timedelta(seconds=number))
    first = anna.get("/jobs").text
    older = re.search(r'href="(/jobs\?after=[^"]+)"', first)
    assert older is not None and "job-30" in first and "job-00" not in first
    second = anna.get(unescape(older[1])).text
    assert "job-00" in second and "job-30" not in second


def test_one_that_waits_knows_how_many_are_before_it(anna: TestClient, berta: TestClient, service: Service) -> None:
    add_job(service, account_of(berta), queued_at=service.now() - timedelta(hours=1))
    waiting = add_job(service, account_of(anna))
    page = anna.get(f"/jobs/{waiting}").text
    assert "Waiting: 1 before you" in page
    assert 'hx-trigger="every 2s"' in page and "data-poll" in page
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in page
    assert berta.get(f"/jobs/{waiting}").status_code == 404


def test_one_that_learns_shows_its_numbers_its_curve_and_the_answers(
    anna: TestClient, service: Service, trained: Trained
) -> None:
    half_way = {**trained.progress, "phase": "train", "percent": 50.2, "cost_micro": 730_000}
    half_way |= {"seconds_left_low": 200.0, "seconds_left_high": 300.0}
    said = {"seconds": {"low": 400.0, "high": 560.0}, "price_low_micro": 1_000_000, "price_high_micro": 2_000_000}
    job = add_job(service, account_of(anna), state="running", attempt=1, progress=half_way, estimate=said)
    page = anna.get(f"/jobs/{job}").text
    words = text_of(page)
    assert re.search(r'<progress max="100" value="50" aria-label="Done">50%</progress>', page)
    assert "3 to 5 minutes" in words and "¥0.73" in words
    assert "7 to 9 minutes" in words and "CN¥1.00 to CN¥2.00" in words
    chart = re.search(r"<svg class=\"chart\" viewBox=\"0 0 480 210\".*?</svg>", page, re.DOTALL)
    assert chart is not None
    assert chart[0].count("<circle") == 5  # the base, and four looks while it learned
    assert re.search(r'<path class="smooth" d="M[\d. L]+"/>', chart[0])
    summary = re.search(r'<title id="curve-title">(.*?)</title>', chart[0])
    assert summary is not None and "the distance went from" in summary[1] and "kept aside" in summary[1]
    samples = half_way["samples"]
    assert len(samples) == 3 and page.count('<article class="card sample">') == 3
    for sample in samples:
        assert sample["question"] in page and sample["expected"] in page and sample["base_answer"] is not None
    assert "After 100% of the learning" in words and "Before: the base model" in words
    assert "style=" not in page and "<script>" not in page and "onclick" not in page
    assert page.count("<h1") == 1


def test_the_part_that_is_asked_for_is_sent_only_where_it_is_new(
    anna: TestClient, service: Service, trained: Trained
) -> None:
    account = account_of(anna)
    job = add_job(service, account, state="running", progress={**trained.progress, "phase": "train"})
    path = f"/jobs/{job}/progress"
    first = anna.get(path)
    assert first.status_code == 200 and "Learning" in first.text and "<html" not in first.text
    assert first.text in anna.get(f"/jobs/{job}").text
    again = anna.get(path, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content
    anna.post("/language", data={"language": "zh"})
    chinese = anna.get(path, headers={"if-none-match": first.headers["etag"]})
    assert chinese.status_code == 200 and "学习中" in chinese.text
    assert anna.post(f"/jobs/{job}/pause", follow_redirects=False).status_code == 303
    held = anna.get(path, headers={"if-none-match": chinese.headers["etag"]})
    assert held.status_code == 200 and "正在暂停" in held.text


def test_asking_ends_with_the_training(anna: TestClient, service: Service, trained: Trained) -> None:
    job, adapter = add_result(service, account_of(anna), trained)
    last = anna.get(f"/jobs/{job}/progress")
    assert last.status_code == 286 and f'href="/models/{adapter}"' in last.text
    assert anna.get(f"/jobs/{job}/progress", headers={"if-none-match": last.headers["etag"]}).status_code == 286
    page = anna.get(f"/jobs/{job}").text
    assert "hx-get" not in page and "http-equiv" not in page
    assert f'href="/models/{adapter}"' in page and "Done: your model is ready" in text_of(page)
    anna.delete(f"/api/adapters/{adapter}")
    assert "Its model has been deleted" in anna.get(f"/jobs/{job}").text


def test_pause_and_go_on(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    job = add_job(service, account)
    assert f'action="/jobs/{job}/pause"' in anna.get(f"/jobs/{job}").text
    page = anna.post(f"/jobs/{job}/pause").text
    assert get_job(service, account, job).state == "paused"
    assert f'action="/jobs/{job}/resume"' in page and f'action="/jobs/{job}/pause"' not in page
    anna.post(f"/jobs/{job}/resume")
    assert get_job(service, account, job).state == "queued"


def test_stopping_is_asked_first_and_ends_it(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    job = add_job(service, account, name="shop", progress={"cost_micro": 2_500_000})
    asked = anna.get(f"/jobs/{job}/stop").text
    assert "Stop shop?" in asked and "¥2.50" in asked and f'action="/jobs/{job}/stop"' in asked
    assert get_job(service, account, job).state == "queued"
    anna.post(f"/jobs/{job}/stop")
    assert get_job(service, account, job).state == "cancelled"
    again = anna.post(f"/jobs/{job}/pause")
    assert again.status_code == 409 and say("platform.jobs.cannot_pause", name="shop") in text_of(again.text)
    assert "shop" in again.text and f'action="/jobs/{job}/pause"' not in again.text


def test_a_failure_says_what_happened_where_and_what_to_do(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    problems = [
        {"code": "missing_answer", "message": f"No answer <{n}>.", "row": n, "sheet": "FAQ"} for n in range(2, 14)
    ]
    error = {"key": "platform.jobs.crashed", "values": {}, "problems": problems}
    data = add_dataset(service, account)
    job = add_job(service, account, state="failed", error=error, ended_at=service.now(), dataset_id=data)
    page = anna.get(f"/jobs/{job}").text
    view = get_job(service, account, job)
    assert view.error is not None and view.error.message in unescape(page) and view.error.hint in unescape(page)
    assert "No answer &lt;2&gt;." in page and "FAQ, row 2" in text_of(page) and "and 2 more" in page
    assert f'href="/data/{data}"' in page and f'href="/data/{data}/settings?base=starter"' in page


def test_one_that_will_be_tried_again_says_why_and_when(anna: TestClient, service: Service) -> None:
    error = {"key": "platform.jobs.killed_for_memory", "values": {}}
    later = service.now() + timedelta(minutes=5)
    job = add_job(service, account_of(anna), error=error, not_before=later)
    page = anna.get(f"/jobs/{job}").text
    assert "It will be tried again by itself" in page and f'datetime="{later.isoformat()}"' in page
    assert "memory" in text_of(page)


def test_the_log_is_shown_when_it_is_asked_for(anna: TestClient, berta: TestClient, service: Service) -> None:
    job = add_job(service, account_of(anna), state="running", attempt=1)
    assert "It has printed nothing yet" in anna.get(f"/jobs/{job}/log").text
    folder = service.settings.data_dir / "runs" / job / "attempts" / "1"
    folder.mkdir(parents=True)
    (folder / "stderr").write_text(f"loading {service.settings.data_dir}/x <b>\n", "utf-8")
    shown = anna.get(f"/jobs/{job}/log").text
    assert "loading DATA/x &lt;b&gt;" in shown and str(service.settings.data_dir) not in shown
    assert berta.get(f"/jobs/{job}/log").status_code == 404


def test_a_training_is_deleted_when_it_has_ended(anna: TestClient, service: Service, trained: Trained) -> None:
    account = account_of(anna)
    running = add_job(service, account, state="running", attempt=1)
    assert anna.post(f"/jobs/{running}/delete").status_code == 409
    job, adapter = add_result(service, account, trained)
    assert f'href="/jobs/{job}/delete"' in anna.get(f"/jobs/{job}").text
    assert "its bill (CN¥0.00) stay" in text_of(anna.get(f"/jobs/{job}/delete").text)
    done = anna.post(f"/jobs/{job}/delete", follow_redirects=False)
    assert done.status_code == 303 and done.headers["location"] == "/jobs"
    assert anna.get(f"/jobs/{job}").status_code == 404
    assert anna.get(f"/api/adapters/{adapter}").status_code == 200


def test_chinese_from_the_first_line_to_the_last(anna: TestClient, service: Service, trained: Trained) -> None:
    job = add_job(service, account_of(anna), state="running", progress={**trained.progress, "phase": "train"})
    anna.post("/language", data={"language": "zh"})
    words = text_of(anna.get(f"/jobs/{job}").text)
    for expected in ("学习中", "回答还差多远", "您的答案", "目前费用", "暂停"):
        assert expected in words
    assert "Waiting" not in words and "Learning" not in words


def test_pages_of_a_training_name_no_path(anna: TestClient, service: Service, trained: Trained, tmp_path: Path) -> None:
    job, _ = add_result(service, account_of(anna), trained)
    for path in (f"/jobs/{job}", "/jobs"):
        assert str(service.settings.data_dir) not in anna.get(path).text
