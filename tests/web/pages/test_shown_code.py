"""What "show as code" says on pages that only look or fetch: it does what the page does, as it stands there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from starlette.testclient import TestClient

from postil.platform.bases.bases import list_bases
from postil.platform.service import Service
from tests.platform.rows import add_dataset
from tests.platform.trained import add_job, add_result, train_tiny
from tests.web.pages.page_fields import codes_of
from tests.web.pages.reading import account_of


def ran(page_path: str, served: str, anna: TestClient) -> tuple[str, str]:
    """What the page's Python prints, and its curl."""
    key = anna.post("/api/keys", json={"name": "code"}).json()["secret"]
    codes = codes_of(anna.get(page_path, headers={"host": served.removeprefix("http://")}).text)
    (python,) = (code for code in codes if "import " in code)
    (curl,) = (code for code in codes if "curl " in code)
    environment = {**os.environ, "POSTIL_API_KEY": key, "NO_PROXY": "*"}
    assert shutil.which("curl")
    told = []
    for command in ([sys.executable, "-c", python], ["bash", "-c", curl]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    return told[0], told[1]


def test_of_a_training(served: str, anna: TestClient, service: Service) -> None:
    job = add_job(service, account_of(anna), state="cancelled", ended_at=service.now(), progress={"percent": 12.5})
    python, curl = ran(f"/jobs/{job}", served, anna)
    assert python.split() == ["cancelled", "12.5"] and f'"id":"{job}"' in curl


def test_of_the_bases(served: str, anna: TestClient, service: Service) -> None:
    python, curl = ran(f"/data/{add_dataset(service, account_of(anna))}/base", served, anna)
    known = list_bases(service)
    assert "\nstarter " in f"\n{python}" and len(python.splitlines()) == len(known)
    (asked,) = (base.name for base in known if base.state not in ("absent", "ready"))
    assert asked in curl


def test_of_a_result(served: str, anna: TestClient, service: Service, tmp_path: Path) -> None:
    _, adapter = add_result(service, account_of(anna), train_tiny(tmp_path))
    python, curl = ran(f"/models/{adapter}", served, anna)
    assert "heldout_loss_tuned" in python and f'"id":"{adapter}"' in curl
