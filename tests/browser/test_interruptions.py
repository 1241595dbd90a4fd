"""What happens meanwhile: the server is killed, the session ends, thirteen tabs are open."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from postil.client import Client
from postil.platform.accounts.accounts import create_account
from postil.platform.accounts.sign_ins import sign_out_everywhere
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from tests.browser import road
from tests.browser.conftest import Browse
from tests.browser.road import Reader
from tests.browser.watching import Watch
from tests.web.running import PASSWORD, Running, run_service
from tools.tour.content import write_good_table, write_talks
from tools.tour.furniture import session_of

pytestmark = pytest.mark.timeout(900)  # the first one waits for the service and all that lies in it
LOST = r"ERR_CONNECTION_|ERR_EMPTY_RESPONSE|ERR_SOCKET|status of 50[0-9]|Response Status Error Code|htmx"
LONG = {"training.epochs": 30, "training.batch_rows": 2, "training.save_every": 5, "evaluation.max_answers": 0}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ExitStack]:
    """Services that end with the test."""
    with ExitStack() as opened:
        yield opened


def opened_service(running: Running) -> Service:
    """The same service through the platform's own doors."""
    return open_service(load_settings(running.data))


def begin(running: Running, folder: Path, name: str, settings: dict[str, object]) -> tuple[str, str]:
    """A new account with a training of many steps; its session and the job's identifier."""
    service = opened_service(running)
    create_account(service, name, PASSWORD)
    session = session_of(service, name)
    with Client(running.address, running.key(name)) as client:
        data = client.check(client.upload(write_talks(folder, "en")))
        job = client.train(data, settings=settings, name="Tea talks")
    service.database.engine.dispose()
    return session, job.id


def percent(page: Page) -> float:
    """How far the page says that it is."""
    return float(page.locator("#watch progress").get_attribute("value") or 0)


def wait_for_percent(page: Page, least: float, seconds: float = 120) -> None:
    """Waits until the page itself says so, without a reload."""
    ends = time.monotonic() + seconds
    while percent(page) < least:
        assert time.monotonic() < ends, f"{percent(page)} after {seconds} s"
        page.wait_for_timeout(200)


def kill(process: psutil.Process) -> None:
    """No warning."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def test_a_page_goes_on_when_the_web_process_and_then_everything_is_killed(
    browse: Browse, watch: Watch, own: ExitStack, tmp_path: Path
) -> None:
    watch.expect(LOST)
    data = tmp_path / "killed"
    first = own.enter_context(run_service(data, poll_seconds=0.1))
    session, job_id = begin(first, tmp_path, "anna", LONG)
    page = browse(first, session=session)
    page.goto(f"/jobs/{job_id}")
    wait_for_percent(page, 10)

    children = psutil.Process(first.process.pid).children(recursive=True)
    kill(next(child for child in children if "postil.web" in child.cmdline()))
    seen = percent(page)
    wait_for_percent(page, min(seen + 5, 100))  # the page has not been touched

    house = psutil.Process(first.process.pid)
    for process in [house, *house.children(recursive=True)]:
        kill(process)
    first.process.wait()
    page.wait_for_timeout(3000)  # the page asks, and nobody is there
    assert page.get_by_role("heading", level=1).inner_text() == "Tea talks"
    port = first.address.rpartition(":")[2]
    own.enter_context(run_service(data, "--port", port, poll_seconds=0.1))
    expect(page.locator("#status")).to_have_text(Reader(page, "en").like("job_page.status.succeeded"), timeout=240_000)
    again = page.context.new_page()
    again.goto(f"/jobs/{job_id}")
    expect(again.get_by_role("link", name=Reader(again, "en").like("job_page.see_result"))).to_be_visible()


def test_thirteen_tabs_of_one_training_all_go_on(
    browse: Browse, watch: Watch, running: Running, tmp_path: Path
) -> None:
    session, job_id = begin(running, tmp_path, road.new_name("tabs"), LONG | {"training.epochs": 12})
    pages = [browse(running, session=session)]
    pages += [pages[0].context.new_page() for _ in range(12)]
    for page in pages:
        page.goto(f"/jobs/{job_id}", wait_until="domcontentloaded")
    began = [percent(page) for page in pages]
    for page, before in zip(pages, began, strict=True):
        page.bring_to_front()
        wait_for_percent(page, min(before + 1, 100))
    for page in pages:
        page.bring_to_front()
        Reader(page, "en").sees("job_page.status.succeeded", road.TRAIN_MS)


def lose_session(running: Running, name: str) -> None:
    """The account is signed out everywhere, as somebody else would do it."""
    service = opened_service(running)
    with running.client(name) as client:
        account_id = client.get("/api/account").json()["id"]
    sign_out_everywhere(service, account_id)
    service.database.engine.dispose()


def sign_in_again(reader: Reader, name: str) -> None:
    """On the page that says that nothing is lost."""
    reader.sees("pages.sign_in.nothing_lost")
    reader.field("pages.name").fill(name)
    reader.field("pages.password").fill(PASSWORD)
    reader.button("pages.sign_in.button").click()
    reader.sees("pages.send_again.text")
    reader.button("pages.send_again.button").click()


@pytest.mark.parametrize("has_script", [True, False])
def test_what_was_typed_outlives_its_session(
    browse: Browse, watch: Watch, running: Running, tmp_path: Path, has_script: bool
) -> None:
    watch.expect("status of 401")
    name = road.new_name("ends")
    service = opened_service(running)
    create_account(service, name, PASSWORD)
    session = session_of(service, name)
    with Client(running.address, running.key(name)) as client:
        data = client.check(client.upload(write_good_table(tmp_path, "en")))
    reader = Reader(browse(running, session=session, has_script=has_script), "en")
    page = reader.page

    # rows that were pasted
    page.goto("/new")
    rows = "\n".join(f"Question number {n}?\tAnswer number {n}." for n in range(40))
    reader.field("new_page.rows").fill(rows)
    reader.field("new_page.name").fill("Typed by hand")
    lose_session(running, name)
    reader.button("new_page.take_rows").click()
    sign_in_again(reader, name)
    reader.comes_to(r"/data/[^/]+$")
    road.wait_for_check(reader)
    expect(page.get_by_role("heading", level=1)).to_have_text("Typed by hand")
    expect(page.get_by_text("Answer number 1.")).to_be_visible()

    # the expert's drawer, with the button that starts
    page.goto(f"/data/{data.id}/settings?base=starter")
    page.locator("details.drawer summary").click()
    reader.field("train_page.drawer.name").fill("My own name")
    page.locator("#set-training-epochs").fill("2")
    if has_script:
        with page.expect_response(re.compile("/settings$")):
            page.locator("#set-training-epochs").press("Tab")
    lose_session(running, name)
    reader.button("train_page.settings.start").click()
    sign_in_again(reader, name)
    reader.comes_to(r"/jobs/[^/]+$")
    expect(page.get_by_role("heading", level=1)).to_have_text("My own name")


def test_a_part_of_a_page_that_is_asked_for_after_the_session_has_ended(
    browse: Browse, watch: Watch, running: Running, tmp_path: Path
) -> None:
    watch.expect("status of 401|Response Status Error Code 401")
    name, service = road.new_name("parts"), opened_service(running)
    create_account(service, name, PASSWORD)
    session = session_of(service, name)
    with Client(running.address, running.key(name)) as client:
        data = client.check(client.upload(write_good_table(tmp_path, "en")))
    reader = Reader(browse(running, session=session), "en")
    page = reader.page
    page.goto(f"/data/{data.id}/settings?base=starter")
    page.locator("details.drawer summary").click()
    reader.field("train_page.drawer.name").fill("My own name")
    lose_session(running, name)
    page.locator("#set-training-epochs").fill("2")
    page.locator("#set-training-epochs").press("Tab")  # asks for the plan anew
    sign_in_again(reader, name)
    expect(page.get_by_role("heading", level=1)).to_have_text(reader.words("train_page.settings.heading"))
    expect(reader.field("train_page.drawer.name")).to_have_value("My own name")
    expect(page.locator("#set-training-epochs")).to_have_value("2")
