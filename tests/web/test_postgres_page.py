"""docs/server.md on copying PostgreSQL is true: its commands run, while a run trains, and what they copied works."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.engine import make_url

from postil.platform.service import open_service
from postil.platform.settings import load_settings
from postil.platform.store.hub_tokens import find_hub_token, set_hub_token
from tests.platform.conftest import new_database, postgres_url  # noqa: F401  # a fixture
from tests.platform.dataset_lives import pairs
from tests.web.running import Running, run_service
from tests.web.test_server_page import PAGES
from tools import services

CANARY = "hf_canaryCANARYcanary66"
CSV = {"content-type": "application/octet-stream"}


def blocks(page: Path) -> list[str]:
    """The commands about PostgreSQL: how it is copied, how it is put back."""
    return re.findall(r"^```bash\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_both_pages_have_the_same_commands() -> None:
    english, chinese = map(blocks, PAGES)
    assert len(english) == 2 and english == chinese


def shell(script: str, folder: Path, url: str) -> None:
    """Runs commands in a folder, with the database of an address where they say "postil"."""
    address = make_url(url)
    binaries = services.find_binaries()
    names = {"PGUSER": address.username, "PGPASSWORD": address.password, "PGPORT": address.port}
    names |= {"PGHOST": address.query.get("host") or address.host}
    environment = os.environ | {name: str(value) for name, value in names.items() if value}
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    script = re.sub(r"(?<=[ =])postil$|(?<==)postil(?= )", str(address.database), script, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def submitted(browser: httpx2.Client, dataset_id: str, epochs: int) -> str:
    """A job; its identifier."""
    wish = {"dataset_id": dataset_id, "base": "starter", "settings": {"training.epochs": epochs}}
    reply = browser.post("/api/jobs", json=wish)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def wait_for(browser: httpx2.Client, path: str, states: set[str]) -> dict[str, object]:
    """What stands under a path, once its state is one of these."""
    gives_up = time.monotonic() + 120
    while (found := browser.get(path).json())["state"] not in states:
        assert time.monotonic() < gives_up, found
        time.sleep(0.1)
    return dict(found)


def wait_for_checkpoint(running: Running, job_id: str) -> None:
    """Until a run has something to go on from."""
    gives_up = time.monotonic() + 120
    while not list((running.data / "runs" / job_id).glob("checkpoints/*/*")):
        assert time.monotonic() < gives_up
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_was_copied_while_a_run_trained_is_put_back(
    postgres_url: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    data, (copy, load) = tmp_path / "data", blocks(PAGES[0])
    with new_database(postgres_url) as url:
        with run_service(data, answers=False, database_url=url) as running, running.client("anna") as anna:
            set_token(data, url)
            dataset_id = ready_dataset(anna)
            first = wait_for(anna, f"/api/jobs/{submitted(anna, dataset_id, 1)}", {"succeeded", "failed"})
            assert first["state"] == "succeeded", first
            second = submitted(anna, dataset_id, 30)
            wait_for_checkpoint(running, second)
            shell(copy.replace("/backup/$(date +%Y%m%d-%H%M%S)", str(tmp_path / "copy")), data, url)
            assert anna.get(f"/api/jobs/{second}").json()["state"] == "running"
            seen = what_is_there(anna, first)
            assert anna.post(f"/api/jobs/{second}/cancel").status_code == 200
            wait_for(anna, f"/api/jobs/{second}", {"cancelled"})
        shell("dropdb postil", tmp_path, url)
        shutil.rmtree(data)
        data.mkdir(mode=0o700)
        shell(f"COPY={tmp_path / 'copy'}\n{load}", data, url)
        with run_service(data, answers=False, database_url=url) as running, running.client("anna") as anna:
            assert what_is_there(anna, first) == seen
            resumed = wait_for(anna, f"/api/jobs/{second}", {"succeeded", "failed"})
            assert resumed["state"] == "succeeded" and resumed["attempt"] == 2, resumed
            assert anna.get("/api/ledger/check").status_code == 200
        service = open_service(load_settings(data, {"database_url": url}))
        assert find_hub_token(service, "hf") == CANARY
        service.database.engine.dispose()


def ready_dataset(browser: httpx2.Client) -> str:
    """A data set that can be trained."""
    reply = browser.post("/api/datasets", params={"file_name": "faq.csv"}, content=pairs(40), headers=CSV)
    dataset_id = str(reply.json()["id"])
    assert wait_for(browser, f"/api/datasets/{dataset_id}", {"ready", "blocked"})["state"] == "ready"
    return dataset_id


def what_is_there(browser: httpx2.Client, job: dict[str, object]) -> list[bytes]:
    """Adapter, data and bill of a job that has ended."""
    paths = (f"adapters/{job['adapter_id']}/download", f"datasets/{job['dataset_id']}/file", f"ledger?job={job['id']}")
    replies = [browser.get(f"/api/{path}") for path in paths]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    return [reply.content for reply in replies]


def set_token(data: Path, url: str) -> None:
    """Something that only the key file can read."""
    service = open_service(load_settings(data, {"database_url": url}))
    set_hub_token(service, "hf", CANARY)
    service.database.engine.dispose()
