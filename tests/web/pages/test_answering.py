"""Trying and using a model on a service that answers: a real run on the starter, real sockets, the code as shown."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from postil.config import RunConfig
from postil.platform.adapters import trials
from postil.platform.adapters.trial_views import TrialView
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.recipes.lora_sft import train_lora
from tests.platform.adapters.test_adapters import publish
from tests.web.pages.page_fields import codes_of
from tests.web.pages.reading import text_of
from tests.web.running import PASSWORD, Running, run_service

HTMX = {"hx-request": "true"}
QUESTION = "Do you sell the teapot number 3?"
FEW_STEPS = {"training.max_steps": 4, "training.batch_rows": 4, "evaluation.max_answers": 0, "model.device": "cpu"}


@dataclass(frozen=True)
class Shop:
    """A service that answers, and an account with two models on it.

    Args:
        browser: in which the account is signed in.
        service: the same data folder, looked at from here.
    """

    running: Running
    browser: httpx2.Client
    service: Service
    account: str
    adapter: str
    other: str

    def trial(self, trial_id: str | None = None) -> TrialView:
        """A trial, or the newest one."""
        if trial_id is not None:
            return trials.get_trial(self.service, self.account, self.adapter, trial_id)
        return trials.list_trials(self.service, self.account, self.adapter, limit=1)[0]

    def ask(self, **fields: str) -> TrialView:
        """Asks as the script of the page does: the places come back, and no answer yet."""
        data = {"question": QUESTION, **fields}
        reply = self.browser.post(f"/models/{self.adapter}/try", data=data, headers=HTMX)
        assert reply.status_code == 200 and "<html" not in reply.text, reply.text
        return self.trial()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    rows = "".join(f"Do you sell the teapot number {n}?,Yes it is in the shop.\n" for n in range(16))
    (folder / "faq.csv").write_text(f"question,answer\n{rows}")
    named = {"data.file": str(folder / "faq.csv"), "model.base": "starter", "output.dir": str(folder / "run")}
    train_lora(RunConfig().replace({**named, **FEW_STEPS}))
    with run_service(folder / "data") as running, running.client("anna") as browser:
        service = open_service(load_settings(running.data))
        account = browser.get("/api/account").json()["id"]
        adapter, other = (publish(service, account, folder / "run" / "adapter", name=n) for n in ("teapots", "other"))
        yield Shop(running, browser, service, account, adapter, other)
        service.database.engine.dispose()


def test_the_starter_is_the_base(shop: Shop) -> None:
    assert shop.browser.post("/api/sign-in", json={"name": "anna", "password": PASSWORD}).status_code == 200
    assert 'role="status"' not in shop.browser.get(f"/models/{shop.adapter}/try").text


def test_without_script_the_page_comes_with_both_answers(shop: Shop) -> None:
    page = shop.browser.post(f"/models/{shop.adapter}/try", data={"question": QUESTION}, follow_redirects=True)
    assert page.status_code == 200 and page.url.path == f"/models/{shop.adapter}/try"
    trial = shop.trial()
    assert trial.is_whole and [a.side for a in trial.answers] == ["base", "tuned"]
    for answer in trial.answers:
        asked = {
            "model": answer.adapter_id or "starter",
            "messages": [{"role": "user", "content": QUESTION}],
            "temperature": 0,
            "max_tokens": trials.MOST_ANSWER_TOKENS,
        }
        reply = shop.browser.post("/v1/chat/completions", json=asked)
        assert answer.text == reply.json()["choices"][0]["message"]["content"], "as /v1 answers"
        assert " ".join(answer.text.split()) in text_of(page.text)


def test_answers_stream_line_by_line_and_are_kept(shop: Shop) -> None:
    trial = shop.ask(other=shop.other, freer="on")
    assert [a.side for a in trial.answers] == ["base", "tuned", "other"] and trial.options["temperature"] == 0.7
    said: list[str] = []
    for place in range(3):
        address = f"/models/{shop.adapter}/try/{trial.id}/answers/{place}"
        with shop.browser.stream("POST", address) as reply:
            assert reply.headers["content-type"] == "application/x-ndjson"
            lines = [json.loads(line) for line in reply.iter_lines()]
        assert len(lines) > 2 and lines[-1]["ended"] in ("stop", "length")
        said.append("".join(line.get("text", "") for line in lines))
        assert not any("starter" in json.dumps(line) or "ft:" in json.dumps(line) for line in lines)
    kept = shop.trial(trial.id)
    assert [a.text for a in kept.answers] == said and kept.is_whole
    assert said[1] == said[2], "the same weights and the same seed: the same words"


def test_a_stopped_answer_keeps_what_came_until_then(shop: Shop) -> None:
    for _ in range(5):  # an answer may be so short that it is there before it is stopped
        trial = shop.ask(question="Tell me a long story about teapots, please.", freer="on")
        address = f"/models/{shop.adapter}/try/{trial.id}/answers/1"
        with shop.browser.stream("POST", address) as reply:
            first = json.loads(next(reply.iter_lines()))
        ends = time.monotonic() + 20
        while not (seen := shop.trial(trial.id).answers[1]).ended and time.monotonic() < ends:
            time.sleep(0.05)
        if seen.ended == "broken":
            break
    assert seen.ended == "broken" and seen.text.startswith(first["text"])
    part = shop.browser.get(f"/models/{shop.adapter}/try/{trial.id}", headers=HTMX)
    assert "not written to its end" in text_of(part.text) and "/again" in part.text
    again = shop.browser.post(f"/models/{shop.adapter}/try/{trial.id}/again", follow_redirects=True)
    assert again.status_code == 200 and shop.trial(trial.id).is_whole


def test_a_conversation_goes_on_by_each_sides_own_answers(shop: Shop) -> None:
    shop.browser.post(f"/models/{shop.adapter}/try", data={"question": QUESTION})
    first = shop.trial()
    data = {"question": "And number 4?", "follows": first.id}
    assert shop.browser.post(f"/models/{shop.adapter}/try", data=data).status_code == 303
    second = shop.trial()
    assert second.before == (QUESTION,) and second.is_whole
    for before, now in zip(first.answers, second.answers, strict=True):
        messages = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": before.text},
            {"role": "user", "content": "And number 4?"},
        ]
        asked = {
            "model": now.adapter_id or "starter",
            "messages": messages,
            "temperature": 0,
            "max_tokens": trials.MOST_ANSWER_TOKENS,
        }
        assert (
            shop.browser.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"] == now.text
        )


def test_a_question_that_is_too_long_for_the_base_says_so_and_stays_typed(shop: Shop) -> None:
    before = len(trials.list_trials(shop.service, shop.account, shop.adapter, limit=200))
    long = "teapot " * 2800
    reply = shop.browser.post(f"/models/{shop.adapter}/try", data={"question": long})
    assert reply.status_code == 422 and 'role="alert"' in reply.text and "teapot teapot" in reply.text
    assert len(trials.list_trials(shop.service, shop.account, shop.adapter, limit=200)) == before


def test_the_code_that_asks_both_runs(shop: Shop, tmp_path: Path) -> None:
    secret = shop.browser.post("/api/keys", json={"name": "both"}).json()["secret"]
    codes = codes_of(shop.browser.get(f"/models/{shop.adapter}/try", params={"question": QUESTION}).text)
    environment = {**os.environ, "POSTIL_API_KEY": secret}
    for code, command in zip(codes[-2:], ([sys.executable, "-c"], ["bash", "-c"]), strict=True):
        done = subprocess.run([*command, code], capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_the_code_on_the_page_runs(shop: Shop, tmp_path: Path) -> None:
    page = shop.browser.post(f"/models/{shop.adapter}/use/key", data={"name": "test"}).text
    secret, openai, curl, client = codes_of(page)[:4]
    assert secret.startswith("pk_")
    for code in (openai, client):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr
    script = tmp_path / "ask.sh"
    script.write_text(curl)
    done = subprocess.run(["sh", str(script)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["choices"][0]["message"]["content"] and answer["model"].startswith("ft:starter:anna:teapots:")
