"""Markup in everything that a user or a model can write stays text (T5), and another site's page moves nothing (T3)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import quote

import pytest
from openpyxl import Workbook
from playwright.sync_api import Page, expect

from postil.client import Client
from postil.platform.accounts.accounts import create_account
from postil.platform.adapters.trials import keep_answer, start_trial
from postil.platform.service import open_service
from postil.platform.settings import load_settings
from tests.browser import road
from tests.browser.conftest import Browse
from tests.browser.road import Reader
from tests.browser.watching import Watch
from tests.web.running import PASSWORD, Running
from tools.tour.furniture import QUICK, session_of

pytestmark = pytest.mark.timeout(900)  # the first one waits for the service and all that lies in it


def evil(number: int) -> str:
    """Markup that would speak up if it were taken for markup."""
    return f"<img src=x{number} onerror=alert({number})>"


@dataclass(frozen=True)
class Victim:
    """An account in which every text is markup."""

    session: str
    dataset: str
    job: str
    adapter: str
    trial: str


@pytest.fixture(scope="module")
def victim(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """Made through the platform and the REST interface, with a real run."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "<img src=x2 onerror=alert(2)>"[:31].replace("/", "")
    sheet.append([f"Question {evil(3)}", f"Answer {evil(4)}"])
    for number in range(40):
        sheet.append([f"What is {evil(number)} number {number}?", f"It is {evil(100 + number)} {number}."])
    sheet.append([f"Nothing answers {evil(5)}", None])
    path = tmp_path_factory.mktemp("evil") / f"\"'{evil(1)}.xlsx"
    book.save(path)
    service = open_service(load_settings(running.data))
    name = road.new_name("victim")
    account = create_account(service, name, PASSWORD)
    with running.client(name) as browser:
        browser.post("/api/keys", json={"name": evil(6)})
    with Client(running.address, running.key(name)) as client:
        data = client.check(client.upload(path, name=evil(7)))
        job = list(client.watch(client.train(data, settings=QUICK, name=evil(8)).id))[-1]
        assert job.state == "succeeded", job.error
    trial = start_trial(service, account.id, str(job.adapter_id), evil(9))
    for place, number in enumerate((10, 11)):
        keep_answer(service, account.id, trial.id, place, evil(number), "stop")
    session = session_of(service, name)
    service.database.engine.dispose()
    return Victim(session, data.id, job.id, str(job.adapter_id), trial.id)


def look(page: Page, path: str, *numbers: int, status: int = 200) -> None:
    """Every text is there as text, and nothing of it as an element."""
    answer = page.goto(path)
    assert answer is not None and answer.status == status, f"{path}: {answer and answer.status}"
    page.wait_for_timeout(200)
    shown = page.locator("body").inner_text() + " ".join(
        page.locator("input, textarea").evaluate_all("all => all.map((field) => field.value)")
    )
    for number in numbers:
        assert evil(number)[:24] in shown, f"{path} does not show {evil(number)}"
    assert page.locator("img, main script, main style, [onerror]").count() == 0


def test_what_users_and_models_write_stays_text_on_every_page(
    browse: Browse, watch: Watch, running: Running, victim: Victim
) -> None:
    watch.expect("status of 404|status of 422")
    page = browse(running, session=victim.session)
    look(page, f"/data/{victim.dataset}", 1, 3, 4, 7)
    look(page, f"/data/{victim.dataset}/rows", 7, 0, 100)
    page.goto(f"/data/{victim.dataset}?code=missing_answer")
    page.locator("#problems td a").first.click()
    expect(page.locator(".slot textarea").first).to_be_visible()
    assert page.locator("img").count() == 0
    look(page, f"/data/{victim.dataset}/base")
    look(page, f"/data/{victim.dataset}/settings?base=starter", 7)
    look(page, f"/data/{victim.dataset}/settings?base={quote(evil(12))}", 12, status=404)
    look(page, f"/jobs/{victim.job}", 8)
    look(page, f"/jobs/{victim.job}/log")
    look(page, f"/models/{victim.adapter}", 8)
    look(page, f"/models/{victim.adapter}/try", 8, 9, 10, 11)
    look(page, f"/models/{victim.adapter}/use", 8)
    look(page, f"/models?words={quote(evil(13))}", 13)
    look(page, "/data", 7)
    look(page, "/jobs", 8)
    look(page, "/models", 8)
    look(page, "/account/keys", 6)
    look(page, f"/{quote(evil(14))}", status=404)
    assert page.evaluate("typeof alert") == "function"


def test_what_a_model_says_while_it_is_streamed_stays_text(
    browse: Browse, watch: Watch, running: Running, victim: Victim
) -> None:
    watch.expect("ERR_FAILED|htmx|^script: undefined$")
    reader = Reader(browse(running, session=victim.session), "en")
    page = reader.page
    lines = '{"text": "<img src=x50 onerror="}\n{"text": "alert(50)>"}\n{"ended": "stop"}\n'
    page.route(re.compile("/answers/[01]$"), lambda route: route.fulfill(body=lines, content_type="text/plain"))
    page.route(re.compile("/try/[^/]+$"), lambda route: route.abort())  # what comes after the stream
    page.goto(f"/models/{victim.adapter}/try")
    reader.field("try_page.question").fill(evil(51))
    reader.button("try_page.ask").click()
    newest = page.locator("article.trial").first
    expect(newest.locator(".answer .said")).to_have_text([evil(50), evil(50)])
    expect(newest).to_contain_text(evil(51))
    assert page.locator("img").count() == 0


def test_markup_in_addresses_and_forms_of_nobody_stays_text(browse: Browse, watch: Watch, running: Running) -> None:
    watch.expect("status of 40[0-9]|status of 422")
    page = browse(running)
    look(page, f"/sign-in?next={quote('/' + evil(1))}")
    look(page, f"/links/{quote(evil(2), safe='')}", status=404)
    page.goto("/sign-in")
    page.locator("input[name=name]").fill(f'"{evil(3)}')
    page.locator("input[name=password]").fill(evil(4))
    page.get_by_role("button", name=Reader(page, "en").words("pages.sign_in.button")).click()
    expect(page.locator("[role=alert]")).to_be_visible()
    expect(page.locator("input[name=name]")).to_have_value(f'"{evil(3)}')
    assert page.locator("img").count() == 0


@pytest.fixture
def foreign_site(running: Running) -> Iterator[str]:
    """Another site, whose page sends a form to the service by itself."""
    page = (
        f'<form method="post" action="{running.address}/account/keys"><input name="name" value="stolen">'
        '<input name="scopes" value="chat"></form><script>document.forms[0].submit()</script>'
    )

    class Foreign(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"//{{host}}:{server.server_port}/page"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_page_of_another_site_moves_nothing(
    browse: Browse, watch: Watch, running: Running, victim: Victim, foreign_site: str, host: str
) -> None:
    """localhost is another site than 127.0.0.1; another port of 127.0.0.1 is the same site and another origin."""
    watch.expect(f"^request: http://{host}:|favicon|status of 40[0-9]")
    page = browse(running, session=victim.session)
    page.goto(f"http:{foreign_site.format(host=host)}")
    page.wait_for_url(f"{running.address}/account/keys")
    assert Reader(page, "en").words("web.forged") in page.locator("body").inner_text()
    page.goto("/account/keys")
    assert "stolen" not in page.locator("body").inner_text()
