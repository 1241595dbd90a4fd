"""Rows as a page shows them: those that the check has kept are the same that the child reads, and need no child."""

from collections.abc import Iterator
from typing import Any

import pytest

from postil.platform.datasets import edits, rows
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.child import run_on_original
from postil.platform.datasets.rows import PreviewRow, preview
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.problems import Place
from tests.platform.dataset_lives import new_account, upload

NUM_ROWS = 1010


@pytest.fixture
def account(service: Service) -> str:
    return new_account(service)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs of the children that were asked."""
    asked: list[str] = []

    def run(service: Service, job: str, *given: Any) -> Iterator[Any]:
        asked.append(job)
        return run_on_original(service, job, *given)

    monkeypatch.setattr(rows, "run_on_original", run)
    return asked


def checked(service: Service, account: str, view: DatasetView) -> DatasetView:
    check_dataset(service, view.id)
    return get_dataset(service, account, view.id)


def numbers(found: tuple[PreviewRow, ...]) -> list[int]:
    return [row.place.row for row in found]


def test_kept_rows_are_those_that_the_child_reads(
    service: Service, account: str, children: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        f'{{"messages":[{{"role":"user","content":"{n}?"}},{{"role":"assistant","content":"{n}"}}]}}' for n in range(9)
    ]
    view = upload(service, account, "\n".join([*lines, "{broken"]).encode(), "chat.jsonl")
    edit = {"place": Place("chat.jsonl", 2), "column": "messages[1].content", "text": "Good day"}
    view = checked(service, account, edits.edit_cell(service, account, view.id, version=view.version, **edit))
    asked: list[dict[str, Any]] = [
        {"limit": 500},
        {"offset": 3, "limit": 4},
        {"offset": 50},
        {"places": [Place("", 2), Place("chat.jsonl", 10)]},
        {"places": [Place("", 99)]},
    ]
    kept = [preview(service, account, view.id, **wishes) for wishes in asked]
    assert not children
    assert kept[0][1].is_edited and kept[0][1].messages[1]["content"] == "Good day"
    assert numbers(kept[1]) == [4, 5, 6, 7] and kept[2] == kept[4] == () and numbers(kept[3]) == [2, 10]
    monkeypatch.setattr(rows, "_kept", lambda *_: None)
    assert kept == [preview(service, account, view.id, **wishes) for wishes in asked]
    assert children == ["view"] * len(asked)


def test_rows_further_down_are_read_from_the_file(service: Service, account: str, children: list[str]) -> None:
    text = "question,answer\n" + "".join(f"What is {n}?,It is {n}\n" for n in range(NUM_ROWS))
    view = start_upload(service, account, "faq.csv", [text.encode()])
    assert numbers(preview(service, account, view.id, limit=2)) == [2, 3] and children == ["view"]  # not checked yet
    view = checked(service, account, view)
    assert len(preview(service, account, view.id, offset=900, limit=100)) == 100 and len(children) == 1
    assert len(preview(service, account, view.id, offset=990, limit=100)) == 20 and len(children) == 2
    assert numbers(preview(service, account, view.id, places=[Place("", NUM_ROWS + 1)], limit=1)) == [NUM_ROWS + 1]
    assert len(children) == 3
