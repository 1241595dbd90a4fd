"""The page on which a base is chosen: cards, the proposed one, and one that is on its way."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from postil.platform.bases import bases
from postil.platform.bases.bases import allow_base, list_bases, start_download
from postil.platform.bases.this_machine import MachineMemory
from postil.platform.service import Service
from postil.platform.store.tables import BaseModelEntry, Dataset
from postil.platform.stored_errors import StoredError
from postil.web.app import create_app
from postil.web.pages import base as base_pages
from postil.web.pages.base_cards import proposed_base
from tests.platform.rows import add_dataset
from tests.web.conftest import ADDRESS
from tests.web.pages.page_fields import fields_of, text_of

LAPTOP, GPU = MachineMemory("cpu", 4, 24 << 30), MachineMemory("cuda", 2, 24 << 30)
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
HTMX = {"hx-request": "true"}


@pytest.fixture(autouse=True)
def laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose memory is known."""
    use_machine(monkeypatch, LAPTOP)


def use_machine(monkeypatch: pytest.MonkeyPatch, memory: MachineMemory) -> None:
    for module in (bases, base_pages):
        monkeypatch.setattr(module, "find_memory", lambda: memory)


@pytest.fixture
def dataset_id(anna: TestClient, service: Service) -> str:
    """Sixty good rows of Anna's."""
    return add_dataset(service, anna.get("/api/account").json()["id"])


def set_base(service: Service, name: str, **values: Any) -> None:
    """Writes what the supervisor would."""
    with service.database.writing() as session:
        row = session.scalars(select(BaseModelEntry).where(BaseModelEntry.name == name)).one()
        for key, value in values.items():
            setattr(row, key, value)


def card_of(html: str, title: str) -> str:
    """The HTML of one card."""
    cards = [part for part in html.split("<li ") if f"<h3>{title}</h3>" in part]
    assert len(cards) == 1, title
    return cards[0]


def test_cards_say_in_plain_words_what_a_base_is(anna: TestClient, dataset_id: str) -> None:
    page = anna.get(f"/data/{dataset_id}/base")
    assert page.status_code == 200
    small = text_of(card_of(page.text, "Qwen2.5-0.5B-Instruct"))
    for words in ("Chinese, English and others", "494M parameters", "988 MB", "also in business (Apache-2.0)"):
        assert words in small
    assert "Fits this machine: training takes about" in small and "Not here yet" in small
    assert "Not for business use" in text_of(card_of(page.text, "Qwen2.5-3B-Instruct"))
    assert "fill" in text_of(card_of(page.text, "gemma-3-1b-it"))
    too_large = page.text.partition("<details>")[2].partition('class="as-code"')[0]
    assert "Qwen2.5-14B-Instruct" in too_large and "Qwen2.5-0.5B-Instruct" not in too_large
    assert "Too large for this machine" in text_of(card_of(page.text, "Qwen2.5-14B-Instruct"))


def test_the_starter_is_proposed_where_nothing_else_is_here(anna: TestClient, dataset_id: str) -> None:
    html = anna.get(f"/data/{dataset_id}/base").text
    headings = ["<h2>To try</h2>", "<h3>starter</h3>", "<h2>For real use</h2>", "<h3>Qwen3-1.7B</h3>"]
    places = [html.index(heading) for heading in [*headings, "<h3>Qwen3-0.6B</h3>"]]
    assert places == sorted(places)
    card = card_of(html, "starter")
    assert "button big" in card and "Suggested" not in html and "Our suggestion" not in html
    assert f"/data/{dataset_id}/settings?base=starter" in card
    assert "It is a toy" in text_of(html)
    assert html.count("button big") == 1


@pytest.mark.parametrize(
    ("memory", "here", "expected"),
    [
        (LAPTOP, (), "starter"),
        (LAPTOP, (SMALL,), SMALL),
        (LAPTOP, (SMALL, "Qwen/Qwen2.5-1.5B-Instruct"), "Qwen/Qwen2.5-1.5B-Instruct"),
        (LAPTOP, ("Qwen/Qwen2.5-14B-Instruct",), "starter"),
        (GPU, (), "Qwen/Qwen2.5-1.5B-Instruct"),
        (GPU, (SMALL,), SMALL),
        (GPU, ("Qwen/Qwen2.5-7B-Instruct",), "Qwen/Qwen2.5-1.5B-Instruct"),
        (replace(GPU, num_bytes=6 << 30), (), "Qwen/Qwen3-0.6B"),
        (replace(GPU, num_bytes=1 << 28), (), "starter"),
    ],
)
def test_what_is_proposed(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    memory: MachineMemory,
    here: tuple[str, ...],
    expected: str,
) -> None:
    use_machine(monkeypatch, memory)
    for name in here:
        start_download(service, name)
        set_base(service, name, state="ready")
    assert proposed_base(list_bases(service), memory) == expected


def test_a_download_is_seen_until_it_is_done_and_outlives_a_restart(
    anna: TestClient, app: FastAPI, service: Service, dataset_id: str
) -> None:
    address = f"/data/{dataset_id}/base"
    form = {"base": SMALL, "hub": "modelscope", "preset": "quick", "kind": "role"}
    sent = anna.post(address, data=form, follow_redirects=False)
    assert sent.status_code == 303 and sent.headers["location"] == f"{address}?preset=quick&kind=role"
    assert next(b for b in list_bases(service) if b.name == SMALL).source == "modelscope"
    waiting = card_of(anna.get(address).text, "Qwen2.5-0.5B-Instruct")
    assert "Waiting for its turn" in waiting and "data-poll" in waiting
    set_base(service, SMALL, state="downloading", num_bytes=1000_000_000, done_bytes=420_000_000)
    cards = {"base": SMALL, "preset": "quick"}
    part = anna.get(f"{address}/card", params=cards)
    assert part.status_code == 200 and part.text.lstrip().startswith("<li")
    assert "42%: 420 MB of 1 GB" in text_of(part.text)
    assert anna.get(f"{address}/card", params=cards, headers={"if-none-match": part.headers["etag"]}).status_code == 304

    with TestClient(create_app(service), base_url=ADDRESS) as restarted:
        restarted.cookies = anna.cookies
        assert "42%" in restarted.get(address).text

    set_base(service, SMALL, state="ready", done_bytes=1000_000_000)
    done = anna.get(f"{address}/card", params=cards)
    assert done.status_code == 286 and "hx-trigger" not in done.text
    assert "settings?base=Qwen/Qwen2.5-0.5B-Instruct&amp;preset=quick" in done.text


def test_a_download_that_failed_says_why_and_can_be_tried_again(
    anna: TestClient, service: Service, dataset_id: str
) -> None:
    address = f"/data/{dataset_id}/base"
    anna.post(address, data={"base": SMALL})
    error = StoredError("platform.bases.download_died", {"name": SMALL}).as_dict()
    set_base(service, SMALL, state="failed", error=error)
    card = card_of(anna.get(address).text, "Qwen2.5-0.5B-Instruct")
    assert f"The download of {SMALL} was cut off." in card and "Try again" in card
    again = anna.post(address, data={"base": SMALL, "hub": "hf"}, headers=HTMX)
    assert again.status_code == 200 and "data-poll" in again.text and "cut off" not in again.text
    assert next(b for b in list_bases(service) if b.name == SMALL).state == "waiting"


def test_other_hubs_are_offered_for_bases_of_the_catalog_only(
    anna: TestClient, service: Service, dataset_id: str
) -> None:
    allow_base(service, "some-lab/their-model", hub="modelscope", revision="v1")
    html = anna.get(f"/data/{dataset_id}/base").text
    own, known = card_of(html, "their-model"), card_of(html, "Qwen3-0.6B")
    assert own.count('name="hub"') == 1 and 'value="modelscope"' in own
    assert known.count('name="hub"') == 2
    assert "Nothing is known yet of what it takes" in own
    anna.patch("/api/account", json={"language": "zh"})
    chinese = card_of(anna.get(f"/data/{dataset_id}/base").text, "Qwen3-0.6B")
    assert chinese.index('value="modelscope"') < chinese.index('value="hf"')


def test_what_is_no_base_is_told_on_the_page(anna: TestClient, dataset_id: str) -> None:
    wrong = anna.post(f"/data/{dataset_id}/base", data={"base": "Qwen/Qwen3-0.6", "preset": "quick"})
    assert wrong.status_code == 404
    assert "did you mean Qwen/Qwen3-0.6B?" in text_of(wrong.text)
    assert fields_of(wrong.text)["preset"] == "quick"
    assert anna.post(f"/data/{dataset_id}/base", data={"base": SMALL, "hub": "ftp"}).status_code == 422
    assert anna.get(f"/data/{dataset_id}/base/card", params={"base": "x" * 200}).status_code == 404


def test_data_that_are_not_ready_or_not_ones_own(
    anna: TestClient, berta: TestClient, service: Service, dataset_id: str
) -> None:
    for path in ("base", "base/card?base=starter", "settings?base=starter"):
        assert berta.get(f"/data/{dataset_id}/{path}").status_code == 404
    for path in ("base", "settings", "train"):
        assert berta.post(f"/data/{dataset_id}/{path}", data={"base": SMALL}).status_code == 404
    assert next(b for b in list_bases(service) if b.name == SMALL).state == "absent"
    with service.database.writing() as session:
        session.get_one(Dataset, dataset_id).state = "validating"
    for path in ("base", "settings?base=starter"):
        away = anna.get(f"/data/{dataset_id}/{path}", follow_redirects=False)
        assert (away.status_code, away.headers["location"]) == (303, f"/data/{dataset_id}")
