"""Chat templates that attack, over HTTP: nothing of theirs is run, and nobody waits for them (T12).

A template comes with a base that an admin allows, or with a request that tries to bring one along. Everything here is
real: the service, its runs, and the process that answers.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from postil.data.template_child import HAS_LIMITS
from postil.platform.accounts.accounts import create_account
from postil.platform.service import open_service
from postil.platform.settings import load_settings
from postil.testing.tiny import make_tiny_model
from tests.platform.dataset_lives import pairs
from tests.web.running import PASSWORD, Running, run_service

FOREVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ATTACKS = {
    "globals": "{{ cycler.__init__.__globals__.os.system('touch MARKER') }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "forever": FOREVER,
    "gigabyte": "{{ 'a' * 10 ** 9 }}",
    "doubling": "{% set n = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
}
LONGEST_ANSWER_SECONDS, LONGEST_JOB_SECONDS = 5.0, 90.0

pytestmark = pytest.mark.skipif(not HAS_LIMITS, reason="templates run without limits of time where a child has none")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with an admin, which answers."""
    data = tmp_path_factory.mktemp("attacked") / "data"
    service = open_service(load_settings(data))
    create_account(service, "root.of.it", PASSWORD, role="admin")
    service.database.engine.dispose()
    with run_service(data) as running:
        yield running


def test_a_base_whose_template_attacks_fails_its_job_and_nothing_else(running: Running, tmp_path: Path) -> None:
    marker, jobs = tmp_path / "owned", {}
    model = make_tiny_model(tmp_path / "model", "qwen3")
    with running.client("root.of.it") as admin, running.client("anna") as anna:
        dataset_id = ready_dataset(anna)
        for name, template in ATTACKS.items():
            folder = tmp_path / name
            folder.mkdir()
            for file in model.iterdir():
                (folder / file.name).hardlink_to(file)
            (folder / "chat_template.jinja").unlink(missing_ok=True)
            (folder / "chat_template.jinja").write_text(template.replace("MARKER", str(marker)), "utf-8")
            allowed = admin.post("/api/admin/bases/folder", json={"folder": str(folder), "name": name})
            assert allowed.status_code == 201, allowed.text
            wish = {"dataset_id": dataset_id, "base": name, "settings": {"training.epochs": 1}}
            assert quickly(anna, "POST", "/api/preview", wish).status_code == 200
            submitted = quickly(anna, "POST", "/api/jobs", wish)
            assert submitted.status_code == 201, submitted.text
            jobs[name] = submitted.json()["id"]
        for name, job_id in jobs.items():
            job = ended(anna, job_id)
            assert (job["state"], job["error"]["code"]) == ("failed", "tokens.bad_template"), (name, job)
            assert job["attempt"] == 1  # it would be no better a second time
        assert anna.get("/api/balance").json()["owed_micro"] == 0
        assert anna.get("/api/adapters").json()["adapters"] == []
    assert not marker.exists()


def test_no_request_brings_a_template_along(running: Running) -> None:
    with running.client("anna") as anna:
        for template in ATTACKS.values():
            ask: dict[str, Any] = {"model": "starter", "temperature": 0, "max_tokens": 4}
            as_text = ask | {"messages": [{"role": "user", "content": template}]}
            assert quickly(anna, "POST", "/v1/chat/completions", as_text).status_code == 200
            brought = quickly(anna, "POST", "/v1/chat/completions", as_text | {"chat_template": template})
            assert brought.status_code == 400 and brought.json()["error"]["param"] == "chat_template"


def ready_dataset(anna: httpx2.Client) -> str:
    """A data set that can be trained."""
    headers = {"content-type": "application/octet-stream"}
    reply = anna.post("/api/datasets", params={"file_name": "faq.csv"}, content=pairs(24), headers=headers)
    dataset_id = str(reply.json()["id"])
    while (state := anna.get(f"/api/datasets/{dataset_id}").json()["state"]) == "validating":
        time.sleep(0.1)
    assert state == "ready"
    return dataset_id


def quickly(client: httpx2.Client, method: str, path: str, body: dict[str, Any]) -> httpx2.Response:
    """An answer that nobody waited for."""
    began = time.monotonic()
    reply = client.request(method, path, json=body)
    assert time.monotonic() - began < LONGEST_ANSWER_SECONDS, (path, body)
    return reply


def ended(anna: httpx2.Client, job_id: str) -> dict[str, Any]:
    """A job at its end; meanwhile the service goes on answering."""
    gives_up = time.monotonic() + LONGEST_JOB_SECONDS
    while True:
        began = time.monotonic()
        job: dict[str, Any] = anna.get(f"/api/jobs/{job_id}").json()
        assert time.monotonic() - began < LONGEST_ANSWER_SECONDS
        if job["state"] in ("failed", "succeeded", "cancelled"):
            return job
        assert time.monotonic() < gives_up, job
        time.sleep(0.2)
