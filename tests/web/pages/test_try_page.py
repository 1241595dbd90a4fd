"""The page on which a model is tried: what it shows of answers, votes and corrections, and what it says without any."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from postil.platform.adapters import trials
from postil.platform.adapters.sharing import share_adapter
from postil.platform.adapters.trial_views import TrialView
from postil.platform.datasets.views import get_dataset
from postil.platform.jobs.reports import find_report
from postil.platform.service import Service
from postil.web.pages.static_files import STATIC
from tests.platform.adapters.test_adapters import publish, write_adapter
from tests.platform.rows import add_dataset
from tests.platform.trained import Trained, add_result, train_tiny
from tests.web.conftest import NewClient
from tests.web.pages.page_fields import fields_of
from tests.web.pages.reading import account_of, text_of

HTMX = {"hx-request": "true"}
HARM = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    write_adapter(path)
    return path


@pytest.fixture
def account(anna: TestClient) -> str:
    return account_of(anna)


@pytest.fixture
def data(service: Service, account: str) -> str:
    return add_dataset(service, account)


@pytest.fixture
def adapter(service: Service, account: str, data: str, folder: Path) -> str:
    """Anna's model."""
    return publish(service, account, folder, name="shop", dataset_id=data)


def asked(
    service: Service, account: str, adapter: str, *texts: str, ended: str = "stop", is_blind: bool = False
) -> TrialView:
    """A question with answers as a browser would have got them."""
    trial = trials.start_trial(service, account, adapter, "Do you ship?", is_blind=is_blind)
    for place, text in enumerate(texts):
        trials.keep_answer(service, account, trial.id, place, text, ended)
    return trials.get_trial(service, account, adapter, trial.id)


def page_of(client: TestClient, adapter: str) -> str:
    reply = client.get(f"/models/{adapter}/try")
    assert reply.status_code == 200, reply.text
    return reply.text


def test_an_empty_page_offers_questions_of_ones_own(anna: TestClient, adapter: str) -> None:
    page = page_of(anna, adapter)
    assert "What about delivery 0?" in text_of(page) and "Nothing has been asked yet" in text_of(page)
    filled = anna.get(f"/models/{adapter}/try", params={"question": "What about delivery 0?"}).text
    assert fields_of(filled)["question"] == "What about delivery 0?"


def test_what_a_model_says_is_text(anna: TestClient, service: Service, account: str, adapter: str) -> None:
    asked(service, account, adapter, HARM, f"fine {HARM}")
    page = page_of(anna, adapter)
    assert page.count("&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&lt;script&gt;") == 3  # two answers, one to correct
    assert "<img" not in page and "alert(2)</script>" not in page
    script = (STATIC / "try.js").read_text("utf-8")
    assert "textContent" in script
    assert not re.search(r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|eval\(", script)


def test_while_nothing_answers_the_question_stays_in_the_box(
    anna: TestClient, service: Service, account: str, adapter: str
) -> None:
    typed = {"question": "Do you\nship?", "blind": "on", "freer": "on"}
    assert "The models are not ready to answer just now" in text_of(page_of(anna, adapter))
    reply = anna.post(f"/models/{adapter}/try", data=typed)
    assert reply.status_code == 503 and reply.headers["retry-after"]
    assert 'role="alert"' in reply.text
    fields = fields_of(reply.text)
    assert fields["question"] == "Do you\nship?" and {"blind", "freer"} <= fields.keys()
    assert trials.list_trials(service, account, adapter) == (), "nor does it stand in the list as well"
    part = anna.post(f"/models/{adapter}/try", data=typed, headers=HTMX)
    assert part.status_code == 503 and part.headers["hx-retarget"] == "#ask-trouble"
    assert part.text.lstrip().startswith("<div") and "<html" not in part.text
    empty = anna.post(f"/models/{adapter}/try", data={"question": "  "})
    assert empty.status_code in (422, 503)


def test_an_answer_that_cannot_be_had_is_told_in_words(
    anna: TestClient, service: Service, account: str, adapter: str
) -> None:
    trial = asked(service, account, adapter)
    reply = anna.post(f"/models/{adapter}/try/{trial.id}/answers/0")
    assert reply.status_code == 503 and set(reply.json()) == {"trouble", "advice"} and reply.json()["trouble"]
    seen = trials.get_trial(service, account, adapter, trial.id)
    assert [a.ended for a in seen.answers] == ["broken", ""]
    assert anna.post(f"/models/{adapter}/try/{trial.id}/answers/7").status_code == 404
    page = page_of(anna, adapter)
    assert f'action="/models/{adapter}/try/{trial.id}/again"' in page and "/vote" not in page
    assert anna.post(f"/models/{adapter}/try/{trial.id}/again").status_code == 503
    fresh = anna.post(f"/models/{adapter}/try/{trial.id}/again", headers=HTMX)
    assert fresh.status_code == 200 and fresh.text.count("data-answer=") == 2


def test_questions_to_begin_with_are_from_all_over_the_file(
    anna: TestClient, service: Service, account: str, trained: Trained, data: str
) -> None:
    """Of those that were kept aside, as far apart as they can be; the long ones are left out."""
    job, adapter = add_result(service, account, trained, dataset_id=data)
    report = find_report(service, account, job)
    assert report is not None and len(report.answers) == 8
    kept = [answer.question for answer in report.answers]
    offered = re.findall(r'href="[^"]*\?question=[^"]*"[^>]*>([^<]*)<', page_of(anna, adapter))
    assert offered == [kept[0], kept[3], kept[7]]
    anna.post(f"/jobs/{job}/delete")
    assert "Or take one of your own data:" in text_of(page_of(anna, adapter))


def test_another_base_than_the_one_in_memory(anna: TestClient, service: Service, account: str, folder: Path) -> None:
    far = publish(service, account, folder, base="Qwen/Qwen3-0.6B")
    assert "this model was made from Qwen/Qwen3-0.6B" in text_of(page_of(anna, far))
    reply = anna.post(f"/models/{far}/try", data={"question": "Hello?"})
    assert reply.status_code == 409 and fields_of(reply.text)["question"] == "Hello?"


def test_a_blind_question_shows_no_names_until_the_vote(
    anna: TestClient, service: Service, account: str, adapter: str
) -> None:
    trial = asked(service, account, adapter, "one", "two", is_blind=True)
    part = anna.get(f"/models/{adapter}/try/{trial.id}", headers=HTMX).text
    assert "Answer A" in text_of(part) and "shop" not in text_of(part) and "starter" not in text_of(part)
    assert "Correct this answer" not in text_of(part)
    early = anna.post(f"/models/{adapter}/try/{trial.id}/vote", data={"choice": "nonsense"}, headers=HTMX)
    assert early.status_code == 404 and 'role="alert"' in early.text
    tuned = trial.answer_of("tuned")
    assert tuned is not None
    voted = anna.post(f"/models/{adapter}/try/{trial.id}/vote", data={"choice": tuned.place}, headers=HTMX)
    assert voted.status_code == 200
    words = text_of(voted.text)
    assert "shop Your choice" in words and "starter (as it was)" in words and "1 of them without knowing" in words
    assert 'id="votes" hx-swap-oob="true"' in voted.text
    again = anna.post(f"/models/{adapter}/try/{trial.id}/vote", data={"choice": "same"})
    assert again.status_code == 409 and "voted on this question already" in text_of(again.text)
    assert trials.count_votes(service, account, adapter).tuned == 1


def test_an_open_vote_without_script(anna: TestClient, service: Service, account: str, adapter: str) -> None:
    trial = asked(service, account, adapter, "one", "two")
    reply = anna.post(f"/models/{adapter}/try/{trial.id}/vote", data={"choice": "same"}, follow_redirects=False)
    assert reply.status_code == 303 and reply.headers["location"] == f"/models/{adapter}/try#{trial.id}"
    words = text_of(page_of(anna, adapter))
    assert "You found them alike." in words and "Your choice on 1 question." in words and "without knowing" not in words
    alone = anna.get(f"/models/{adapter}/try/{trial.id}", follow_redirects=False)
    assert alone.status_code == 303


def test_a_better_answer_goes_into_the_data(
    anna: TestClient, service: Service, account: str, adapter: str, data: str
) -> None:
    trial = asked(service, account, adapter, "No.", "Nope.")
    address = f"/models/{adapter}/try/{trial.id}/correct"
    assert fields_of(page_of(anna, adapter))["answer"] == "Nope."
    wrong = anna.post(address, data={"answer": "   "})
    assert wrong.status_code == 422 and 'role="alert"' in wrong.text
    part = anna.post(address, data={"answer": "   "}, headers=HTMX)
    assert part.status_code == 422 and 'role="alert"' in part.text and "<html" not in part.text
    reply = anna.post(address, data={"answer": "Yes, everywhere."})
    assert reply.status_code == 200
    assert "it is in version 2 of faq" in text_of(reply.text) and f'<a href="/data/{data}">faq</a>' in reply.text
    assert f'href="/data/{data}/settings?base=starter">Train again with this</a>' in reply.text
    assert get_dataset(service, account, data).version == 2
    twice = anna.post(address, data={"answer": "Again."})
    assert twice.status_code == 409 and "corrected before" in text_of(twice.text)


def test_where_the_data_are_gone_or_of_others_nothing_is_corrected(
    anna: TestClient, berta: TestClient, service: Service, account: str, adapter: str, folder: Path
) -> None:
    lost = publish(service, account, folder, name="lost")
    asked(service, account, lost, "one", "two")
    page = text_of(page_of(anna, lost))
    assert "Correct this answer" not in page and "the data of this model have been deleted" in page
    share_adapter(service, account, adapter, "berta")
    trial = asked(service, account_of(berta), adapter, "one", "two")
    page = page_of(berta, adapter)
    assert "the data belong to anna" in text_of(page) and "Correct this answer" not in text_of(page)
    assert "faq" not in page and "What about" not in page
    assert berta.post(f"/models/{adapter}/try/{trial.id}/correct", data={"answer": "mine"}).status_code == 404


def test_a_conversation_goes_on(anna: TestClient, service: Service, account: str, adapter: str) -> None:
    trial = asked(service, account, adapter, "one", "two")
    page = anna.get(f"/models/{adapter}/try", params={"follows": trial.id}).text
    assert fields_of(page)["follows"] == trial.id and "This goes on from: Do you ship?" in text_of(page)
    trials.start_trial(service, account, adapter, "And where?", follows=trial.id)
    assert "Before: Do you ship?" in text_of(page_of(anna, adapter))


def test_history_is_paged_and_can_be_deleted(anna: TestClient, service: Service, account: str, adapter: str) -> None:
    for number in range(22):
        trials.start_trial(service, account, adapter, f"Question number {number:02}?")
    first = page_of(anna, adapter)
    older = re.search(r'href="(/models/[^"]+after=[^"]+)"', first)
    assert older is not None
    second = anna.get(older[1]).text
    found = [set(re.findall(r"Question number \d\d", page)) for page in (first, second)]
    assert len(found[0]) == 20 and len(found[1]) == 2 and not found[0] & found[1]
    assert anna.post(f"/models/{adapter}/try/clear").status_code == 200
    assert "Nothing has been asked yet" in text_of(page_of(anna, adapter))
    assert trials.list_trials(service, account, adapter) == ()


def test_in_chinese(new_client: NewClient, service: Service, folder: Path) -> None:
    client = new_client("mei", headers={"accept-language": "zh-CN"})
    mei = account_of(client)
    adapter = publish(service, mei, folder, name="掌柜")
    asked(service, mei, adapter, "好", "很好")
    words = text_of(page_of(client, adapter))
    assert "试一试：掌柜" in words and "哪个回答更好？" in words and "Which" not in words
