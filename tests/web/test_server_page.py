"""docs/server.md is true: its commands run as they stand, and the Chinese page has the same ones."""

import re
import subprocess
from pathlib import Path

import pytest

from postil.platform.settings import ServiceSettings
from tests.conftest import ROOT
from tests.web.running import run_service

PAGES = (ROOT / "docs" / "server.md", ROOT / "docs" / "server.zh.md")
HERE = "http://127.0.0.1:8321"


def commands(page: Path) -> list[str]:
    """The blocks that can be pasted, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_both_pages_have_the_same_commands() -> None:
    english, chinese = map(commands, PAGES)
    assert len(english) >= 14
    assert english == chinese


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_setting_is_on_the_page(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [name for name in ServiceSettings.model_fields if f"`{name}`" not in text]
    assert missing == ["data_dir", "fake_slots"]  # the first is --data, the second is for tests


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "nothing came back"),
        ('{"error": {"message": "It is not there."}}', "It is not there."),
        ("<html>Bad gateway</html>", "Bad gateway"),
        ("[1]", "[1]"),
    ],
)
def test_an_answer_without_the_field_is_shown_and_no_trace(answer: str, said: str) -> None:
    script = f"{commands(PAGES[0])[0]}\nprintf %s '{answer}' | field id"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("No id in the answer: ") and said in done.stderr and "Traceback" not in done.stderr


def test_the_commands_of_the_page_run_as_they_stand(tmp_path: Path) -> None:
    with run_service(tmp_path / "data", free_rows_per_month=10) as running:
        blocks = commands(PAGES[0])
        assert HERE in blocks[0]
        script = "\n".join(blocks).replace(HERE, running.address)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "succeeded" in done.stdout
    assert '{"error"' not in done.stdout
    assert "data: [DONE]" in done.stdout
    assert "Yes, to every country." in (tmp_path / "faq-corrected.csv").read_text("utf-8")
    assert (tmp_path / "teapots.zip").read_bytes().startswith(b"PK")
