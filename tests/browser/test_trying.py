"""Asking base and tuned in a browser: answers as they are written, a stop, a blind vote, text that would do harm."""

import json
import re

from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Browse
from tests.browser.watching import Watch
from tests.web.running import Running
from tools.tour.furniture import Furniture

HARM = '<img src=x onerror="alert(1)"><b>bold</b>'
QUESTION = "How much is Dragon Well?"


def open_page(browse: Browse, running: Running, furniture: Furniture, **how: object) -> Page:
    own = furniture.homes["en"]
    page = browse(running, session=own.session, **how)  # type: ignore[arg-type]
    page.goto(f"/models/{own.adapter}/try")
    return page


def newest(page: Page, before: int) -> Locator:
    """The question that has just been asked; the script puts it before the others.

    Args:
        before: how many there were.
    """
    expect(page.locator("article.trial")).to_have_count(before + 1)
    return page.locator("article.trial").first


def test_two_answers_side_by_side_a_vote_and_a_better_answer(
    browse: Browse, running: Running, furniture: Furniture
) -> None:
    page = open_page(browse, running, furniture)
    before = page.locator("article.trial").count()
    page.get_by_label("Your question").fill(QUESTION)
    page.keyboard.press("Control+Enter")
    trial = newest(page, before)
    expect(trial.get_by_role("group", name="Which answer is better?")).to_be_visible()
    expect(page.get_by_label("Your question")).to_have_value("")
    answers = trial.locator(".said")
    expect(answers).to_have_count(2)
    said = answers.all_inner_texts()
    trial.get_by_role("button", name="Tea shop", exact=True).click()
    expect(trial.get_by_text("Your choice")).to_be_visible()
    expect(page.locator("#votes")).to_contain_text("Your choice on")
    expect(page.locator("article.trial:focus-within")).to_have_count(1)  # the keyboard goes on there
    trial.get_by_text("Correct this answer").click()
    trial.get_by_label("What it should have answered").fill("A tin of Dragon Well costs 53 yuan.")
    trial.get_by_role("button", name="Add to my data").click()
    expect(trial.get_by_text("Added as a row")).to_be_visible()
    page.reload()
    assert page.locator("article.trial").first.locator(".answers .said").all_inner_texts() == said


def test_a_blind_question_names_nobody_before_the_vote(browse: Browse, running: Running, furniture: Furniture) -> None:
    page = open_page(browse, running, furniture, width=390)
    heard: list[str] = []
    page.on("request", lambda request: heard.append(f"{request.url} {request.post_data}"))
    before = page.locator("article.trial").count()
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_label("Hide who answers").check()
    page.get_by_role("button", name="Ask", exact=True).click()
    trial = newest(page, before)
    expect(trial.get_by_role("button", name="Answer A")).to_be_visible()
    assert "starter" not in trial.inner_text() and "Tea shop" not in trial.inner_text()
    assert sum("/answers/" in one for one in heard) == 2 and not any("starter" in one for one in heard)
    trial.get_by_role("button", name="Answer B").click()
    expect(trial.get_by_role("heading", name="Tea shop")).to_be_visible()
    expect(trial.get_by_role("group", name="Which answer is better?")).to_have_count(0)


def test_stop_keeps_what_was_said(browse: Browse, running: Running, furniture: Furniture, watch: Watch) -> None:
    page = open_page(browse, running, furniture)

    def slow(route: Route) -> None:  # the other one is real
        if route.request.url.endswith("/0"):
            return  # never answered
        route.continue_()

    page.route(re.compile("/answers/"), slow)
    before = page.locator("article.trial").count()
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    trial = newest(page, before)
    expect(trial.locator("[data-answer]").nth(1)).not_to_be_empty()
    trial.get_by_role("button", name="Stop").click()
    expect(trial.get_by_text("This answer was not written to its end.").first).to_be_visible()
    page.unroute(re.compile("/answers/"))
    trial.get_by_role("button", name="Ask again").click()
    expect(page.locator("article.trial").first.get_by_role("group", name="Which answer")).to_be_visible()


def test_what_a_model_says_is_never_markup(browse: Browse, running: Running, furniture: Furniture) -> None:
    page = open_page(browse, running, furniture)
    lines = [{"text": HARM[:9]}, {"text": HARM[9:]}, {"ended": "stop"}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    page.route(re.compile("/answers/"), lambda route: route.fulfill(body=body, content_type="application/x-ndjson"))
    page.route(re.compile("/try/try_[a-z0-9]+$"), lambda route: None)  # so that the streamed text stays on the page
    before = page.locator("article.trial").count()
    page.get_by_label("Your question").fill(HARM)
    page.get_by_role("button", name="Ask", exact=True).click()
    trial = newest(page, before)
    expect(trial.locator("[data-answer]").first).to_have_text(HARM)
    expect(trial.locator(".bubble.user")).to_have_text(HARM)
    assert page.locator("main img, article b").count() == 0


def test_an_answer_that_cannot_be_had_is_told(
    browse: Browse, running: Running, furniture: Furniture, watch: Watch
) -> None:
    watch.expect("503")
    page = open_page(browse, running, furniture)
    told = json.dumps({"trouble": "Many questions are being answered just now.", "advice": "Ask again."})
    busy = re.compile("/answers/0")
    page.route(busy, lambda route: route.fulfill(status=503, body=told, content_type="application/json"))
    before = page.locator("article.trial").count()
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    trial = newest(page, before)
    expect(trial.get_by_role("alert")).to_contain_text("Many questions are being answered")
    expect(trial.get_by_role("button", name="Ask again")).to_be_visible()


def test_without_script_the_page_comes_with_the_answers(browse: Browse, running: Running, furniture: Furniture) -> None:
    page = open_page(browse, running, furniture, has_script=False)
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask", exact=True).click()
    trial = page.locator("article.trial").first
    expect(trial.get_by_role("button", name="Alike")).to_be_visible()
    trial.get_by_role("button", name="Alike").click()
    expect(page.locator("article.trial").first.get_by_text("You found them alike.")).to_be_visible()
