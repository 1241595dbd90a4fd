"""Edits over an original that stays as it is: fixes, cells, rows, options, undo, and two people at once."""

import io
import json
import threading
from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import select

from postil.config import RunConfig
from postil.data.checks.overlay import overlay_from_dict
from postil.data.prepared import read_prepared
from postil.errors import ConflictError, DataError, MissingInputError, PostilError, TryAgainError, UsageError
from postil.platform.datasets import edits as edits
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.datasets import training_source
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.reports import corrected_file, get_report
from postil.platform.datasets.rows import preview
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import DatasetView, get_dataset, list_versions
from postil.platform.service import Service
from postil.platform.store.tables import DatasetVersion
from postil.problems import ADDED, Place
from postil.recipes.prepare import prepare
from tests.platform.dataset_lives import SHARED, new_account, pairs, upload

ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""For what the database has no part in."""
FAULTY = "\n".join(
    [
        "question,answer",
        "When do you open?,At nine.",
        "When do you open?,At nine.",
        "How do I pay?,",
        "Where are you?, In the main street. ",
        "Is it <b>new</b>?,Yes it is.",
        ",Nobody asked this.",
        "Call me?,Call 13812345678 please.",
        "Last one?,The last.",
        "",
    ]
).encode()


def checked(service: Service, account: str, view: DatasetView) -> DatasetView:
    check_dataset(service, view.id)
    return get_dataset(service, account, view.id)


def codes(view: DatasetView) -> dict[str, int]:
    assert view.summary is not None
    return {c["code"]: c["count"] for c in view.summary["codes"]}


def trained_answers(service: Service, account: str, dataset_id: str, number: int | None = None) -> list[str]:
    rows = preview(service, account, dataset_id, number, limit=500)
    return [row.messages[-1]["content"] for row in rows if row.messages and not row.is_left_out]


@pytest.fixture
def account(service: Service) -> str:
    return new_account(service)


@pytest.fixture
def faulty(service: Service, account: str) -> DatasetView:
    return upload(service, account, FAULTY)


def test_all_automatic_fixes(service: Service, account: str, faulty: DatasetView) -> None:
    assert faulty.state == "needs_attention"
    before = codes(faulty)
    assert before["missing_answer"] == 1 and before["missing_question"] == 1 and before["personal_data"] == 1
    view = edits.apply_fixes(service, account, faulty.id, version=1, automatic=True)
    assert (view.state, view.version) == ("validating", 2)
    view = checked(service, account, view)
    assert view.state == "ready"
    assert codes(view) == {"personal_data": 1, "too_few_rows": 1}
    assert view.num_edits == 5
    assert trained_answers(service, account, faulty.id) == [
        "At nine.",
        "In the main street.",
        "Yes it is.",
        "Call 13812345678 please.",
        "The last.",
    ]
    assert len(trained_answers(service, account, faulty.id, 1)) == 6


def test_one_problem_and_all_like_it(service: Service, account: str, faulty: DatasetView) -> None:
    report = get_report(service, account, faulty.id)
    missing = next(p for p in report.problems if p.problem.code == "missing_answer")
    view = checked(
        service, account, edits.apply_fixes(service, account, faulty.id, version=1, problems=[missing.number])
    )
    assert "missing_answer" not in codes(view) and codes(view)["missing_question"] == 1 and view.num_edits == 1
    view = checked(service, account, edits.apply_fixes(service, account, faulty.id, version=2, codes=["personal_data"]))
    assert "personal_data" not in codes(view) and view.num_edits == 2
    assert "Call [phone] please." in trained_answers(service, account, faulty.id)
    with pytest.raises(UsageError) as caught:
        edits.apply_fixes(service, account, faulty.id, version=3, codes=["personal_data"])
    assert caught.value.key == "platform.datasets.not_fixable" and "outer_blanks" in caught.value.hint
    few = next(p for p in get_report(service, account, faulty.id).problems if p.problem.code == "too_few_rows")
    with pytest.raises(UsageError):
        edits.apply_fixes(service, account, faulty.id, version=3, problems=[few.number])
    with pytest.raises(MissingInputError):
        edits.apply_fixes(service, account, faulty.id, version=3, problems=[999])
    with pytest.raises(UsageError):
        edits.apply_fixes(service, account, faulty.id, version=3)


@ONLY_SQLITE
def test_report_by_code_and_page(service: Service, account: str) -> None:
    rows = b"".join(b"question %d?,\n" % i + b"q%d?, answer %d \n" % (i, i) for i in range(30))
    view = upload(service, account, b"question,answer\n" + rows)
    counts = {c.code: c.count for c in get_report(service, account, view.id, limit=0).counts}
    assert counts["missing_answer"] == 30
    pages = [get_report(service, account, view.id, code="missing_answer", offset=i, limit=12) for i in (0, 12, 24, 36)]
    assert [len(page.problems) for page in pages] == [12, 12, 6, 0]
    assert {page.total for page in pages} == {30}
    numbers = [p.number for page in pages for p in page.problems]
    assert len(set(numbers)) == 30 and numbers == sorted(numbers)
    everything = get_report(service, account, view.id, limit=500)
    assert [p.number for p in everything.problems] == list(range(1, everything.total + 1))
    by_number = {p.number: p.problem for p in everything.problems}
    assert all(by_number[n].code == "missing_answer" for n in numbers)
    assert [by_number[n].place.row for n in numbers] == list(range(2, 62, 2))
    again = get_report(service, account, view.id, code="missing_answer", limit=500)
    assert [p.number for p in again.problems] == numbers
    assert get_report(service, account, view.id, code="no_such").problems == ()


def test_a_cell_a_row_and_undo(service: Service, account: str, faulty: DatasetView) -> None:
    view = edits.edit_cell(
        service, account, faulty.id, version=1, place=Place("", 4), column="answer", text="With a card."
    )
    view = edits.leave_out(service, account, faulty.id, version=2, places=[Place("", 7), Place("", 3)])
    view = checked(service, account, view)
    assert view.state == "ready" and view.version == 3 and view.num_edits == 3
    assert "With a card." in trained_answers(service, account, faulty.id)
    view = edits.undo(service, account, faulty.id, version=3)
    assert view.state == "validating"  # version 2 was changed before it was checked
    view = checked(service, account, view)
    assert view.num_edits == 1 and view.state == "needs_attention"
    view = edits.undo(service, account, faulty.id, version=4)
    assert view.state == "needs_attention" and view.num_edits == 0 and codes(view) == codes(faulty)  # known already
    with pytest.raises(ConflictError) as caught:
        edits.undo(service, account, faulty.id, version=5)
    assert caught.value.key == "platform.datasets.nothing_to_undo"
    view = edits.undo(service, account, faulty.id, version=5, to=3)
    assert view.state == "ready" and "With a card." in trained_answers(service, account, faulty.id)
    versions = list_versions(service, account, faulty.id)
    assert [(v.number, v.what, v.undoes, v.num_edits) for v in versions] == [
        (6, "undo", 3, 3),
        (5, "undo", 1, 0),
        (4, "undo", 2, 1),
        (3, "leave_out", None, 3),
        (2, "cell", None, 1),
        (1, "upload", None, 0),
    ]
    assert [v.is_checked for v in versions] == [True, True, True, True, False, True]
    with pytest.raises(ConflictError) as caught:
        get_report(service, account, faulty.id, 2)
    assert caught.value.key == "platform.datasets.never_checked"
    with pytest.raises(MissingInputError):
        edits.undo(service, account, faulty.id, version=6, to=99)


def test_edits_stack_on_fixes_that_are_still_to_come(service: Service, account: str, faulty: DatasetView) -> None:
    edits.apply_fixes(service, account, faulty.id, version=1, automatic=True)
    view = edits.edit_cell(service, account, faulty.id, version=2, place=Place("", 9), column="answer", text="Really.")
    view = checked(service, account, view)
    assert view.state == "ready" and view.num_edits == 6
    assert "Really." in trained_answers(service, account, faulty.id)
    with service.database.reading() as session:
        waiting = [v.overlay["fixes"] for v in session.scalars(select(DatasetVersion))]
    assert waiting == [[], [], []]


def test_a_cell_that_is_not_there_is_told_and_can_be_undone(
    service: Service, account: str, faulty: DatasetView
) -> None:
    for place, column in ((Place("", 400), "answer"), (Place("", 2), "colour"), (Place("other.csv", 2), "answer")):
        version = get_dataset(service, account, faulty.id).version
        view = edits.edit_cell(service, account, faulty.id, version=version, place=place, column=column, text="x")
        view = checked(service, account, view)
        assert view.state == "unreadable" and view.error is not None
        assert view.error.key == "data.edit_without_place" and (column in view.error.message)
        with pytest.raises(DataError):
            get_report(service, account, faulty.id)
        view = edits.undo(service, account, faulty.id, version=view.version)
        assert view.state == "needs_attention" and view.error is None


@pytest.mark.parametrize("text", ["\ud800", "x" * 1_000_001])
@ONLY_SQLITE
def test_texts_that_are_refused(service: Service, account: str, faulty: DatasetView, text: str) -> None:
    with pytest.raises(UsageError):
        edits.edit_cell(service, account, faulty.id, version=1, place=Place("", 2), column="answer", text=text)
    with pytest.raises(UsageError):
        edits.edit_cell(service, account, faulty.id, version=1, place=Place("", 0), column="answer", text="x")
    with pytest.raises(UsageError):
        edits.leave_out(service, account, faulty.id, version=1, places=[])
    assert get_dataset(service, account, faulty.id).version == 1


def test_who_is_late_is_told(service: Service, account: str, faulty: DatasetView) -> None:
    edits.leave_out(service, account, faulty.id, version=1, places=[Place("", 2)])
    for call in (
        lambda: edits.leave_out(service, account, faulty.id, version=1, places=[Place("", 3)]),
        lambda: edits.apply_fixes(service, account, faulty.id, version=1, automatic=True),
        lambda: edits.undo(service, account, faulty.id, version=1),
        lambda: edits.set_options(service, account, faulty.id, version=1, options=DatasetOptions()),
    ):
        with pytest.raises(ConflictError) as caught:
            call()
        assert caught.value.key == "platform.datasets.changed_meanwhile" and "2" in caught.value.message
    with pytest.raises(TryAgainError):
        edits.apply_fixes(service, account, faulty.id, version=2, automatic=True)


def test_of_ten_at_once_one_wins(service: Service, account: str, faulty: DatasetView) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(10)

    def change(row: int) -> None:
        start.wait()
        try:
            edits.leave_out(service, account, faulty.id, version=1, places=[Place("", row)])
            outcomes.append("done")
        except PostilError as error:
            outcomes.append(error.key)

    threads = [threading.Thread(target=change, args=(row,)) for row in range(2, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", *["platform.datasets.changed_meanwhile"] * 9]
    assert get_dataset(service, account, faulty.id).version == 2
    assert len(list_versions(service, account, faulty.id)) == 2


def test_options_make_a_version(service: Service, account: str) -> None:
    view = upload(service, account, "甲,乙\n你们几点开门？,九点\n怎么付款？,刷卡\n".encode("gb18030"), "表.csv")
    options = DatasetOptions("GB18030", {"question": "乙", "answer": "甲"}, False, "role")
    view = edits.set_options(service, account, view.id, version=view.version, options=options)
    view = checked(service, account, view)
    assert view.options == DatasetOptions("gb18030", {"question": "乙", "answer": "甲"}, False, "role")
    assert view.kind == "role" and trained_answers(service, account, view.id) == ["你们几点开门？", "怎么付款？"]
    with service.database.reading() as session:
        source = training_source(session, service, account, view.id)
    assert source.kind == "role" and source.settings["data.map"] == {"question": "乙", "answer": "甲"}
    wrong = DatasetOptions("klingon", {"colour": "x", "answer": ""}, False, "poetry")
    with pytest.raises(UsageError) as caught:
        edits.set_options(service, account, view.id, version=view.version, options=wrong)
    for word in ("klingon", "colour", "poetry", "answer"):
        assert word in caught.value.message
    back = edits.undo(service, account, view.id, version=view.version)
    assert back.options == DatasetOptions() and back.state != "validating"


@ONLY_SQLITE
def test_a_wrong_encoding_can_be_mended(service: Service, account: str) -> None:
    view = upload(service, account, pairs())
    options = DatasetOptions(encoding="utf-16")
    view = checked(service, account, edits.set_options(service, account, view.id, version=1, options=options))
    assert view.state == "unreadable" and view.error is not None and "faq.csv" in view.error.message
    view = edits.set_options(service, account, view.id, version=2, options=DatasetOptions())
    view = checked(service, account, view)
    assert view.state == "ready" and view.rows == 6


def test_what_a_job_trains_on_is_the_version_that_it_names(service: Service, account: str, faulty: DatasetView) -> None:
    checked(service, account, edits.apply_fixes(service, account, faulty.id, version=1, automatic=True))
    checked(service, account, edits.leave_out(service, account, faulty.id, version=2, places=[Place("", 2)]))
    with service.database.reading() as session:
        first, second, third = (training_source(session, service, account, faulty.id, n) for n in (1, 2, None))
    assert first.overlay is None and second.overlay is not None and third.overlay is not None
    assert (first.version, second.version, third.version) == (1, 2, 3)
    assert [len(s.row_tokens) for s in (first, second, third)] == [s.rows for s in (first, second, third)] == [6, 5, 4]
    overlay = overlay_from_dict(json.loads(second.overlay.read_text("utf-8")))
    overlay.check(second.file)
    assert len(overlay.edits) == 5
    assert first.file == third.file and first.file.read_bytes() == FAULTY


@ONLY_SQLITE
def test_the_prepared_rows_of_a_version_are_its_rows(service: Service, account: str, tmp_path: Path) -> None:
    view = upload(service, account, FAULTY + pairs(30)[16:])
    checked(service, account, edits.apply_fixes(service, account, view.id, version=1, automatic=True))
    with service.database.reading() as session:
        source = training_source(session, service, account, view.id)
    prepare(RunConfig().replace(source.settings), tmp_path / "out")
    made = read_prepared(tmp_path / "out")
    answers = [c.answer for part in (made.train, made.heldout) for c in part.conversations]
    assert sorted(answers) == sorted(trained_answers(service, account, view.id))
    tokens = sorted(len(e.input_ids) for part in (made.train, made.heldout) for e in part.examples)
    assert tokens == sorted(source.row_tokens)


@ONLY_SQLITE
def test_corrected_file_in_the_users_format(service: Service, account: str, faulty: DatasetView) -> None:
    checked(service, account, edits.apply_fixes(service, account, faulty.id, version=1, automatic=True))
    made = corrected_file(service, account, faulty.id)
    assert made.file_name == "faq-corrected.csv"
    text = b"".join(made.chunks)
    assert len(text) == made.num_bytes and b" In the main" not in text and b"<b>" not in text
    assert text.splitlines()[0] == b"question,answer" and len(text.splitlines()) == 6
    assert b"".join(corrected_file(service, account, faulty.id).chunks) == text  # made once
    assert b"".join(corrected_file(service, account, faulty.id, 1).chunks) == FAULTY


@ONLY_SQLITE
def test_formulas_in_corrected_files_are_text(service: Service, account: str) -> None:
    rows = 'question,answer\nWhat is it?,"=HYPERLINK(""http://x"",""y"")"\nAnd this?, @SUM(1) \nPlain?,plain\n'
    view = upload(service, account, rows.encode())
    checked(service, account, edits.apply_fixes(service, account, view.id, version=1, automatic=True))
    lines = b"".join(corrected_file(service, account, view.id).chunks).decode().splitlines()
    assert not any(cell.startswith(("=", "@")) for line in lines for cell in line.replace('"', "").split(","))


@ONLY_SQLITE
def test_a_workbook_comes_back_as_one(service: Service, account: str) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "常见问题"
    for row in (["问题", "答案"], ["几点开门？", " 九点 "], ["=1+1", "二"], ["怎么付款？", "刷卡"], ["电话？", None]):
        sheet.append(row)
    data = io.BytesIO()
    book.save(data)
    view = upload(service, account, data.getvalue(), "客服.xlsx")
    report = get_report(service, account, view.id)
    assert all(p.problem.place.file == "客服.xlsx" for p in report.problems)
    version = view.version
    cell = next(p.problem for p in report.problems if p.problem.code == "missing_answer")
    assert (cell.place.row, cell.place.sheet) == (5, "常见问题") and cell.column == "答案"
    edits.edit_cell(service, account, view.id, version=version, place=cell.place, column="答案", text="=2+2")
    view = checked(service, account, view)
    made = corrected_file(service, account, view.id)
    assert made.file_name == "客服-corrected.xlsx"
    copy = openpyxl.load_workbook(io.BytesIO(b"".join(made.chunks)))
    cells = {c.coordinate: (c.value, c.data_type) for row in copy["常见问题"].iter_rows() for c in row}
    assert cells["B5"] == ("=2+2", "s")
    assert cells["B4"] == ("刷卡", "s")


@ONLY_SQLITE
def test_preview_shows_cells_that_can_be_edited(service: Service, account: str) -> None:
    data = b'{"messages":[{"role":"user","content":"Hi?"},{"role":"assistant","content":"Hello"}]}\n' * 3
    view = upload(service, account, data, "chat.jsonl")
    row = preview(service, account, view.id, offset=1, limit=1)[0]
    assert [(m["role"], m["content"]) for m in row.messages] == [("user", "Hi?"), ("assistant", "Hello")]
    cell = next(c for c in row.cells if c.text == "Hello")
    edits.edit_cell(service, account, view.id, version=1, place=cell.place, column=cell.column, text="Good day")
    view = checked(service, account, get_dataset(service, account, view.id))
    assert trained_answers(service, account, view.id) == ["Hello", "Good day", "Hello"]
    named = preview(service, account, view.id, places=[Place("", 2)])
    assert [r.is_edited for r in named] == [True] and named[0].place.row == 2


def test_an_answer_that_was_corrected_is_a_row_of_the_next_version(
    service: Service, account: str, tmp_path: Path
) -> None:
    view = upload(service, account, pairs())
    better = [{"role": "user", "content": "Do you ship?"}, {"role": "assistant", "content": "Yes, everywhere."}]
    view = checked(service, account, edits.add_conversation(service, account, view.id, version=1, messages=better))
    assert view.state == "ready" and view.rows == 7 and view.num_edits == 1
    row = preview(service, account, view.id, limit=50)[-1]
    assert row.place == Place(ADDED, 1) and row.is_edited and row.messages[-1]["content"] == "Yes, everywhere."
    with service.database.reading() as session:
        source = training_source(session, service, account, view.id)
    assert source.overlay is not None and len(source.row_tokens) == 7
    prepare(RunConfig().replace(source.settings), tmp_path / "out")
    made = read_prepared(tmp_path / "out")
    assert "Yes, everywhere." in [c.answer for part in (made.train, made.heldout) for c in part.conversations]
    corrected = corrected_file(service, account, view.id)
    assert corrected.file_name == "faq-corrected.zip"
    again = upload(service, account, b"".join(corrected.chunks), corrected.file_name)
    assert again.rows == 7
    cell = next(c for c in row.cells if c.text == "Yes, everywhere.")
    edits.edit_cell(service, account, view.id, version=2, place=cell.place, column=cell.column, text="Only here.")
    checked(service, account, view)
    assert trained_answers(service, account, view.id)[-1] == "Only here."
    edits.leave_out(service, account, view.id, version=3, places=[row.place])
    assert checked(service, account, view).rows == 6


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "Only asked?"}],
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "  "}],
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}],
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\ud800"}],
        [{"content": "a"}, {"role": "assistant"}],
    ],
)
@ONLY_SQLITE
def test_conversations_that_are_none(service: Service, account: str, messages: list[dict[str, str]]) -> None:
    view = start_upload(service, account, "faq.csv", [pairs()])
    with pytest.raises(UsageError):
        edits.add_conversation(service, account, view.id, version=1, messages=messages)


@ONLY_SQLITE
def test_a_field_that_a_json_record_lacks_can_be_written(service: Service, account: str) -> None:
    data = b'{"question":"One?","answer":"1"}\n{"question":"Two?"}\n'
    view = upload(service, account, data, "faq.jsonl")
    missing = get_report(service, account, view.id, code="missing_answer").problems[0].problem
    assert missing.column == "answer"
    edits.edit_cell(service, account, view.id, version=1, place=missing.place, column="answer", text="2")
    view = checked(service, account, view)
    assert view.state == "ready" and trained_answers(service, account, view.id) == ["1", "2"]
    made = corrected_file(service, account, view.id)
    assert b"".join(made.chunks) == b'{"question":"One?","answer":"1"}\n{"question":"Two?","answer":"2"}\n'


@pytest.mark.parametrize("name", ["o11_customer_service_conversations_role.jsonl", "o26_erp_helpdesk_noheader.xlsx"])
@ONLY_SQLITE
def test_real_files_are_mended_and_come_back(service: Service, account: str, name: str) -> None:
    file = SHARED / name
    if not file.exists():
        pytest.skip("needs ../shared/data")
    view = upload(service, account, file.read_bytes(), name)
    assert view.summary is not None
    view = checked(service, account, edits.apply_fixes(service, account, view.id, version=1, automatic=True))
    assert view.summary is not None and not any(c["automatic"] for c in view.summary["codes"])
    made = corrected_file(service, account, view.id)
    again = upload(service, account, b"".join(made.chunks), made.file_name)
    assert again.rows == view.rows
