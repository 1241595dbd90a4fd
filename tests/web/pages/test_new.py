"""The first step: a file, pasted rows or an example become data; what cannot be taken says what to do."""

import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import Workbook, load_workbook
from starlette.testclient import TestClient

from postil.language import LANGUAGES, Language, use_language
from postil.platform.datasets.checks import check_dataset
from postil.platform.service import Service
from postil.web.pages.examples import EXAMPLES, example_file
from postil.web.pages.new import ending_of, upload_snippets
from tests.data.files.office import write_ole
from tests.platform.dataset_lives import pairs
from tests.web.pages.commands import run_while_checking

GOOD = example_file("shop", "en")[1]
NUM_GOOD = len(list(csv.reader(io.StringIO(GOOD.decode())))) - 1
KINDS = {
    "shop": "customer_service",
    "hotel": "multi_turn",
    "software": "fact_qa",
    "copywriting": "copywriting",
}


def send(client: TestClient, name: str, data: bytes) -> str:
    """Sends a file as the form does; the path of the page that shows it."""
    reply = client.post("/new", files={"file": (name, data)}, follow_redirects=False)
    assert reply.status_code == 303, reply.text
    return str(reply.headers["location"])


def checked(client: TestClient, service: Service, name: str, data: bytes) -> str:
    """The page of a file after its check."""
    path = send(client, name, data)
    check_dataset(service, path.rpartition("/")[2])
    reply = client.get(path)
    assert reply.status_code == 200, reply.text
    return reply.text


def workbook(rows: list[list[object]]) -> bytes:
    """One sheet with these rows."""
    book = Workbook()
    for row in rows:
        book.active.append(row)
    written = io.BytesIO()
    book.save(written)
    return written.getvalue()


def test_a_file_without_script(anna: TestClient, service: Service) -> None:
    page = anna.get("/new").text
    assert 'enctype="multipart/form-data"' in page and 'type="file"' in page
    path = send(anna, "faq.csv", GOOD)
    waiting = anna.get(path)
    assert waiting.status_code == 200 and f'hx-get="{path}/state"' in waiting.text
    assert '<noscript><meta http-equiv="refresh"' in waiting.text
    check_dataset(service, path.rpartition("/")[2])
    shown = anna.get(path).text
    assert (
        f"{NUM_GOOD} questions and answers found. Nothing needs to be mended." in shown
        and f'href="{path}/base"' in shown
    )
    assert "better" not in shown, "so many are enough"


def test_pasted_rows_are_a_file(anna: TestClient, service: Service) -> None:
    rows = "question\tanswer\n" + "\n".join(f"What about {i}?\tRule {i} says so." for i in range(12))
    reply = anna.post("/new/paste", data={"rows": rows, "name": "From the sheet"}, follow_redirects=False)
    assert reply.status_code == 303
    dataset_id = reply.headers["location"].rpartition("/")[2]
    check_dataset(service, dataset_id)
    found = anna.get(f"/api/datasets/{dataset_id}").json()
    assert (found["name"], found["file_name"], found["rows"]) == ("From the sheet", "pasted-rows.tsv", 12)


def test_nothing_and_wrong_names_are_told_and_nothing_typed_is_lost(anna: TestClient) -> None:
    empty = anna.post("/new/paste", data={"rows": "  ", "name": "x"})
    assert empty.status_code == 422 and "Nothing was pasted." in empty.text
    long = anna.post("/new/paste", data={"rows": "Q: What & why?\nA: So.", "name": "x" * 200})
    assert long.status_code == 422
    assert "Q: What &amp; why?\nA: So.</textarea>" in long.text and "x" * 200 in long.text
    for reply in (
        anna.post("/new"),
        anna.post("/new", data={"file": "text"}),
        anna.post("/new", files={"file": ("", b"")}),
    ):
        assert reply.status_code == 422 and "No file was chosen." in reply.text
    assert anna.post("/new/example", data={"example": "../shop"}).status_code == 404
    assert anna.get("/api/datasets").json()["datasets"] == []


@pytest.mark.parametrize(
    ("rows", "ending"),
    [
        ("Question\tAnswer\nWhy?\tSo.\n", ".tsv"),
        ("question,answer\nWhy?,So.\nWho?,They.\n", ".csv"),
        ("Guest: Hello, is there a room?\nReception: Yes, there is.\n", ".txt"),
        ('[{"question": "Why?", "answer": "So."}]', ".json"),
        ('{"question": "Why?", "answer": "So."}\n', ".jsonl"),
    ],
)
def test_pasted_rows_are_known_by_their_layout(rows: str, ending: str) -> None:
    assert ending_of(rows) == ending


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_good_data_in_both_languages(
    name: str, language: Language, anna: TestClient, service: Service
) -> None:
    anna.post("/language", data={"language": language, "next": "/new"})
    reply = anna.post("/new/example", data={"example": name}, follow_redirects=False)
    assert reply.status_code == 303, reply.text
    dataset_id = reply.headers["location"].rpartition("/")[2]
    check_dataset(service, dataset_id)
    found = anna.get(f"/api/datasets/{dataset_id}").json()
    assert found["rows"] >= 40 and found["kind"] == KINDS[name]
    codes = {one["code"] for one in found["summary"]["codes"]} - {"too_few_rows"}
    if name == "software":
        assert found["state"] == "needs_attention"
        assert {"missing_answer", "missing_question", "duplicate", "html", "personal_data", "mojibake"} <= codes
    else:
        assert found["state"] == "ready" and not codes
    if name == "hotel":
        assert found["summary"]["multi_turn"] == found["rows"]


def test_examples_are_not_each_other(tmp_path: Path) -> None:
    use_language("zh")
    try:
        made = {name: example_file(name, "zh") for name in EXAMPLES}
        other = {name: example_file(name, "en") for name in EXAMPLES}
    finally:
        use_language(None)
    assert len({data for _, data in (*made.values(), *other.values())}) == 8
    book = load_workbook(io.BytesIO(made["software"][1]))
    assert len(book.sheetnames) == 4 and made["software"][0].endswith(".xlsx")


BAD: dict[str, tuple[str, Callable[[Path], bytes], tuple[str, ...]]] = {
    "photo": ("photo.jpg", lambda _: b"\xff\xd8\xff\xe0" + bytes(2000), ("photo.jpg", "JPEG", "Choose another file")),
    "password": (
        "faq.xlsx",
        lambda folder: write_ole(folder / "a", "EncryptionInfo", "EncryptedPackage").read_bytes(),
        ("faq.xlsx", "password", "Choose another file"),
    ),
    "empty sheet": ("faq.xlsx", lambda _: workbook([]), ("faq.xlsx", "Choose another file")),
    "header only": ("faq.xlsx", lambda _: workbook([["question", "answer"]]), ("No question with its answer",)),
    "formulas": (
        "faq.xlsx",
        lambda _: workbook([["question", "answer"], *([f"Why {i}?", f'="So "&{i}'] for i in range(8))]),
        ("No question with its answer", "Formulas without a result", "row 2"),
    ),
    "chat without names": (
        "chat.txt",
        lambda _: "\n".join(["Hello there", "good morning", "I wanted to know about the thing"] * 9).encode(),
        ("No question with its answer", "No questions in the text"),
    ),
    "five rows": (
        "faq.csv",
        lambda _: pairs(5),
        ("5 questions and answers found.", "5 rows are enough to try the way, but not to judge the result"),
    ),
    "all answers": (
        "faq.csv",
        lambda _: "\n".join(["answer,reply", *(f"We open at {i}.,We close at {i}." for i in range(20))]).encode(),
        ("No question with its answer", "No column of questions", "Say yourself which column is what"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_what_happened_and_what_to_do(
    name: str, anna: TestClient, service: Service, tmp_path: Path
) -> None:
    file_name, make, sentences = BAD[name]
    page = checked(anna, service, file_name, make(tmp_path))
    for sentence in sentences:
        assert sentence in page, sentence
    assert "Traceback" not in page and str(service.settings.data_dir) not in page
    assert ("/base" in page) == (name == "five rows"), "only rows that can be learned lead on"


def test_a_file_that_is_too_large_is_refused_on_the_page(anna: TestClient, service: Service) -> None:
    most = service.settings.max_upload_bytes
    assert f'data-most="{most}"' in anna.get("/new").text
    claimed = anna.post(
        "/new", content=b"", headers={"content-length": str(2 * most), "content-type": "multipart/form-data"}
    )
    assert claimed.status_code == 413 and "MB" in claimed.text and "<h1>" in claimed.text
    object.__setattr__(service, "settings", service.settings.model_copy(update={"max_upload_bytes": 100}))
    refused = anna.post("/new", files={"file": ("faq.csv", pairs(50))})
    assert refused.status_code == 413 and "The file is larger than" in refused.text and "Split it" in refused.text
    assert anna.get("/api/datasets").json()["datasets"] == []


def test_the_same_file_twice_is_told(anna: TestClient, berta: TestClient, service: Service) -> None:
    first = send(anna, "faq.csv", GOOD)
    check_dataset(service, first.rpartition("/")[2])
    assert "You have sent the very same file before" not in anna.get(first).text
    assert "You have sent the very same file before" not in checked(berta, service, "faq.csv", GOOD)
    again = checked(anna, service, "other.csv", GOOD)
    assert "You have sent the very same file before" in again and f'href="{first}"' in again


def test_the_code_on_the_page_works(anna: TestClient, service: Service, served: str, tmp_path: Path) -> None:
    key = anna.post("/api/keys", json={"name": "k"}).json()["secret"]
    (tmp_path / "faq's.csv").write_bytes(pairs(20))
    (_, by_curl), (_, by_python) = upload_snippets(served, "faq's.csv")
    if shutil.which("curl") is not None:
        told = run_while_checking(service, ["sh", "-c", by_curl], key, tmp_path)
        assert json.loads(told)["file_name"] == "faq's.csv"
    told = run_while_checking(service, [sys.executable, "-c", by_python], key, tmp_path)
    assert re.fullmatch(r"ds_\w+ ready 20\n", told)
