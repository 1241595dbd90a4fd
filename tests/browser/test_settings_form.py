"""The form of the settings with a script: it follows what is changed, keeps what is typed, and starts what is meant."""

import time

import httpx2
import pytest
from playwright.sync_api import expect

from postil.web.auth import COOKIE
from tests.browser.conftest import Browse
from tests.platform.dataset_lives import pairs
from tests.web.running import Running


@pytest.fixture
def dataset(running: Running) -> tuple[str, str, httpx2.Client]:
    """A session, a checked data set of forty rows, and a client of the same account."""
    with running.client("settings.form") as client:
        sent = client.post("/api/datasets", params={"file_name": "faq.csv"}, content=pairs(40))
        dataset_id = sent.json()["id"]
        ends = time.monotonic() + 60
        while client.get(f"/api/datasets/{dataset_id}").json()["state"] == "validating":
            assert time.monotonic() < ends
            time.sleep(0.1)
        session = str(client.cookies.get(COOKIE))
    return session, dataset_id, httpx2.Client(base_url=running.address, cookies={COOKIE: session}, trust_env=False)


def test_the_plan_follows_the_form_and_only_the_big_button_starts(
    running: Running, browse: Browse, dataset: tuple[str, str, httpx2.Client]
) -> None:
    session, dataset_id, client = dataset
    page = browse(running, session=session)
    page.goto(f"/data/{dataset_id}/settings?base=starter")
    headline, said = page.locator(".plan h2"), page.locator("#said")
    first = headline.inner_text()
    page.get_by_label("Quick look").check()
    expect(headline).not_to_have_text(first)
    expect(said).to_have_text(headline.inner_text())

    # what is typed wrongly is named beside its field, and the drawer stays as it was
    page.locator("details.drawer > summary").click()
    passes, note = page.locator("#set-training-epochs"), page.locator("#now-training-epochs")
    passes.fill("abc")
    passes.blur()
    expect(note).to_contain_text("Write a number, such as 0.5.")
    expect(page.locator("#plan")).to_contain_text("Some fields need another look.")
    expect(passes).to_have_value("abc")
    expect(page.locator(".plan h2")).to_have_count(0)

    # Enter in a field works the plan out and starts nothing
    passes.fill("2")
    with page.expect_navigation(wait_until="load"):
        passes.press("Enter")
    expect(headline).to_contain_text(": 2 passes, ")
    expect(passes).to_have_value("2")
    expect(page.get_by_label("Quick look")).to_be_checked()
    assert client.get("/api/jobs").json()["jobs"] == []

    # a value that was just typed counts when the button is pressed at once
    passes.fill("1")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/jobs/job_*")
    jobs = client.get("/api/jobs").json()["jobs"]
    assert len(jobs) == 1 and page.url.endswith(jobs[0]["id"])
    spec = client.get(f"/api/jobs/{jobs[0]['id']}").json()["spec"]
    assert spec["chosen"] == {"training.epochs": 1.0} and spec["preset"] == "quick"
    assert client.post(f"/api/jobs/{jobs[0]['id']}/cancel").status_code == 200


def test_without_a_script_the_same_form_is_worked_out_by_a_button(
    running: Running, browse: Browse, dataset: tuple[str, str, httpx2.Client]
) -> None:
    session, dataset_id, _ = dataset
    page = browse(running, session=session, has_script=False)
    page.goto(f"/data/{dataset_id}/settings?base=starter")
    page.get_by_label("Thorough").check()
    page.get_by_role("button", name="Work it out again").first.click()
    expect(page).to_have_url(f"{running.address}/data/{dataset_id}/settings?base=starter&preset=thorough&kind=fact_qa")
    expect(page.get_by_label("Thorough")).to_be_checked()
