"""The second step: what was found is told in words, and is mended where it stands."""

import csv
import html
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from postil.language import LANGUAGES, has_sentence
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.edits import add_conversation
from postil.platform.service import Service
from postil.web.pages.examples import example_file
from tests.test_catalogs import sentences
from tests.web.belongings import CSV
from tests.web.belongings import upload as upload_pairs
from tests.web.conftest import NewClient
from tests.web.pages.commands import check_waiting, run_while_checking

HTMX = {"hx-request": "true"}
HARM = "<img src=x onerror=alert(1)>"


def table(*rows: list[str]) -> bytes:
    """A CSV file."""
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


GOOD = example_file("shop", "en")[1]
"""Rows without a mistake."""
MISTAKES = table(
    ["Question", "Answer", "Remark"],
    *([*row, "seen"] for row in list(csv.reader(io.StringIO(GOOD.decode())))[1:31]),
    ["Who answers this?", "", "open"],
    ["And who this one?", "", "open"],
    ["Is it blue?", "<p>It is <b>blue</b>.</p>", ""],
    ["Is it red?", "<p>It is <i>red</i>.</p>", ""],
)
CHATS = "\n\n".join(
    f"Conversation {i}\nGuest: Is room {i} free?\nReception: Yes, room {i} is free.\n"
    f"Guest: And what does room {i} cost?\nReception: It costs {90 + i} a night."
    for i in range(12)
).encode()


def upload(client: TestClient, service: Service, data: bytes, file_name: str = "faq.csv") -> str:
    """The path of the page of a data set that has been checked."""
    reply = client.post("/api/datasets", params={"file_name": file_name}, content=data, headers=CSV)
    assert reply.status_code == 201, reply.text
    check_dataset(service, reply.json()["id"])
    return f"/data/{reply.json()['id']}"


def change(client: TestClient, service: Service, path: str, verb: str, **fields: object) -> str:
    """Sends a form of the page and returns the page after the check."""
    reply = client.post(
        f"{path}/{verb}", data={"version": about(client, path)["version"], **fields}, follow_redirects=False
    )
    assert reply.status_code == 303, reply.text
    check_waiting(service)
    shown = client.get(reply.headers["location"])
    assert shown.status_code == 200, shown.text
    return html.unescape(shown.text)


def about(client: TestClient, path: str) -> Any:
    """The data set as the API tells it."""
    return client.get(f"/api/datasets/{path.rpartition('/')[2]}").json()


def test_an_empty_list_teaches(anna: TestClient, service: Service) -> None:
    page = anna.get("/data").text
    assert "No data yet" in page and 'href="/new"' in page and "<table" not in page


def test_the_list_is_filtered_and_ones_own(anna: TestClient, berta: TestClient, service: Service) -> None:
    good = upload(anna, service, GOOD, "good.csv")
    bad = upload(anna, service, MISTAKES, "bad.csv")
    photo = upload(anna, service, b"\xff\xd8\xff\xe0" + bytes(900), "photo.jpg")
    paths = {
        "": {good, bad, photo},
        "ready": {good},
        "needs_attention": {bad},
        "unreadable": {photo},
        "validating": set(),
    }
    for state, wanted in paths.items():
        page = anna.get("/data", params={"state": state}).text
        assert {path for path in (good, bad, photo) if f'href="{path}"' in page} == wanted, state
    assert "There is nothing like this" in anna.get("/data?state=validating").text
    assert "No data yet" in berta.get("/data").text


def test_the_page_waits_for_the_check(anna: TestClient, service: Service) -> None:
    reply = anna.post("/api/datasets", params={"file_name": "faq.csv"}, content=GOOD, headers=CSV)
    path = f"/data/{reply.json()['id']}"
    waiting = anna.get(f"{path}/state")
    assert waiting.status_code == 200 and "<progress" in waiting.text and "<html" not in waiting.text
    same = anna.get(f"{path}/state", headers={"if-none-match": waiting.headers["etag"]})
    assert same.status_code == 304
    check_waiting(service)
    done = anna.get(f"{path}/state")
    assert done.status_code == 286 and done.headers["hx-refresh"] == "true"
    told = anna.get(f"{path}/state?then=tell")
    assert told.status_code == 286 and "hx-refresh" not in told.headers and "Nothing needs to be mended." in told.text


def test_the_ledger_adds_up_and_kinds_are_named(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    page = anna.get(path).text
    numbers = [int(n) for n in re.findall(r"<dd>(\d+)</dd>", page)[:4]]
    assert numbers[0] == sum(numbers[1:]) == 34
    assert "32 questions and answers found. 4 need a look." in html.unescape(page)
    for title in ("Answer missing", "HTML in the text"):
        assert title in page
    assert "row 32" in page and "column Answer" in page, "rows of the kind that comes first"
    assert f'href="{path}/base"' in page and "Go on with 32 rows" in page


def test_a_cell_is_edited_on_a_page_of_its_own(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    link = html.unescape(re.findall(r'href="([^"]+/row\?[^"]+)"', anna.get(path).text)[0])
    form = anna.get(link).text
    assert form.count("<h1>") == 1 and "Who answers this?" in form and "hx-post" not in form
    fields = {"row": 32, "column": "Answer", "text": "We do,\r\nall of us."}
    page = change(anna, service, path, "cells", **fields, code="missing_answer", offset=0)
    assert "33 questions and answers found. 3 need a look." in page and "Undo the last change" in page
    rows = anna.get(f"/api/datasets/{path[6:]}/rows", params={"offset": 30}).json()["rows"]
    assert rows[0]["cells"][1]["text"] == "We do,\nall of us."
    assert "32 questions and answers found. 4 need a look." in change(anna, service, path, "undo")


def test_a_cell_is_edited_in_place(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    part = anna.get(f"{path}/row?row=33&column=Answer&code=missing_answer", headers=HTMX).text
    assert "<html" not in part and part.index('value="Answer"') < part.index('value="Question"'), "what is wrong first"
    assert f'hx-post="{path}/cells"' in part
    saved = anna.post(f"{path}/cells", data={"version": 1, "row": 33, "column": "Answer", "text": HARM}, headers=HTMX)
    assert saved.status_code == 200 and saved.headers["hx-trigger"] == '{"postil:version": 2}'
    assert html.escape(HARM) in saved.text and HARM not in saved.text
    assert f'hx-get="{path}/state?then=tell"' in saved.text and 'hx-swap-oob="true"' in saved.text
    check_waiting(service)
    assert anna.get(f"{path}/state?then=tell").status_code == 286
    assert about(anna, path)["rows"] == 33


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_who_was_slower_is_told_and_loses_nothing(anna: TestClient, service: Service, headers: dict[str, str]) -> None:
    path = upload(anna, service, MISTAKES)
    change(anna, service, path, "cells", row=32, column="Answer", text="the first")
    mine = {"version": 1, "row": 32, "column": "Answer", "text": "mine, with <b>care</b>", "code": "", "offset": 0}
    refused = anna.post(f"{path}/cells", data=mine, headers=headers)
    assert refused.status_code == 409 and "was changed meanwhile" in refused.text
    assert "mine, with &lt;b&gt;care&lt;/b&gt;</textarea>" in refused.text
    assert "the first" in refused.text and 'name="version" value="2"' in refused.text
    assert anna.post(f"{path}/cells", data=mine | {"version": 2}, follow_redirects=False).status_code == 303
    for verb in ("fixes", "left-out", "options", "undo"):
        fields = {"version": 1, "automatic": "yes", "row": 32, "part": "kind", "kind": "role"}
        late = anna.post(f"{path}/{verb}", data=fields)
        assert late.status_code == 409 and "was changed meanwhile" in late.text, verb
        assert "<h1>faq</h1>" in late.text


def test_problems_are_mended_one_by_one_and_all_like_one(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    page = html.unescape(anna.get(f"{path}?code=html").text)
    assert "Take out HTML tags" in page and "For all 2:" in page
    number = re.findall(r'name="problem" value="(\d+)"', page)[0]
    page = change(anna, service, path, "fixes", problem=number, code="html", offset=0)
    assert "For all" not in page and page.count('name="problem"') == 1
    page = change(anna, service, path, "undo")
    page = change(anna, service, path, "fixes", all_of="html")
    assert "code=html" not in page and "2 need a look." in page
    rows = anna.get(f"/api/datasets/{path[6:]}/rows", params={"offset": 32}).json()["rows"]
    assert [row["cells"][1]["text"] for row in rows] == ["It is blue.", "It is red."]
    copy = anna.get(f"{path}/file")
    assert copy.status_code == 200 and b"It is blue." in copy.content and b"<b>" not in copy.content
    assert "attachment" in copy.headers["content-disposition"]


def test_rows_are_left_out(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    page = change(anna, service, path, "left-out", all_of="html")
    assert about(anna, path)["rows"] == 30 and "HTML in the text" not in page
    page = change(anna, service, path, "left-out", row=2, code="missing_answer", offset=0)
    assert about(anna, path)["rows"] == 29
    shown = anna.get(f"{path}/rows").text
    assert "left out" in shown and "How long does delivery take?" in shown


def test_everything_that_is_safe_is_mended_at_once(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    page = html.unescape(anna.get(path).text)
    number = re.search(r"Mend all (\d+)", page)
    assert number is not None and int(number[1]) == 4
    assert "2 corrections of texts, which say the same as before, 2 rows left out that cannot be learned" in page
    page = change(anna, service, path, "fixes", automatic="yes")
    assert "Mend all" not in page and "Answer missing (2), HTML in the text (2)" in page, "what was changed"
    assert about(anna, path)["state"] == "ready"
    assert f'href="{path}/rows?only=left-out"' in page
    shown = anna.get(f"{path}/rows?only=left-out").text
    assert "And who this one?" in shown and "Is it red?" not in shown and "1 to 2 of 2" in shown


def test_of_many_rows_those_left_out_are_found(anna: TestClient, service: Service) -> None:
    rows = [[f"What is number {i}?", f"It is {i} and a bit."] for i in range(1100)]
    path = upload(anna, service, table(["Question", "Answer"], *rows, ["Last?", ""]))
    shown = anna.get(f"{path}/rows?only=left-out").text
    assert "Last?" in shown and "What is number" not in shown and "1 to 1 of 1" in shown


ANSWERED_TWICE = table(
    ["Question", "Answer"],
    *list(csv.reader(io.StringIO(GOOD.decode())))[1:31],
    ["Do you ship to Iceland?", "No, never."],
    ["Do you ship to Iceland?", "Yes, within a week."],
)


def test_different_answers_stand_side_by_side(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, ANSWERED_TWICE)
    page = html.unescape(anna.get(f"{path}?code=conflicting_answers").text)
    assert "row 32</span> <q>No, never.</q>" in page and "row 33</span> <q>Yes, within a week.</q>" in page
    assert page.count("Leave this row out") == page.count("Keep only this one") == 2
    assert "has 2 different answers." in page and "row=32&code=conflicting_answers" in page
    others = {"file": ["faq.csv"], "sheet": [""], "row": ["32"], "code": "conflicting_answers", "offset": 0}
    page = change(anna, service, path, "left-out", **others)
    assert "Same question" not in page and about(anna, path)["rows"] == 31 and "Rows were left out" in page
    assert "(1)" in page
    several = {"file": ["faq.csv"] * 2, "sheet": [""] * 2, "row": ["2", "3"]}
    change(anna, service, path, "left-out", **several)
    assert about(anna, path)["rows"] == 29


def test_a_correction_wins_over_the_file_and_is_no_file_of_its_own(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, table(*list(csv.reader(io.StringIO(ANSWERED_TWICE.decode())))[:-1]))
    add = [{"role": "user", "content": "Do you ship to Iceland?"}, {"role": "assistant", "content": "Yes, since May."}]
    account_id = anna.get("/api/account").json()["id"]
    add_conversation(service, account_id, path.rpartition("/")[2], version=1, messages=add)
    check_waiting(service)
    page = html.unescape(anna.get(f"{path}?code=conflicting_answers").text)
    assert "32 questions and answers found. " in page and "and 1 added by hand" in page
    assert page.count('<select name="purpose">') == 2, "columns are chosen as before"
    assert "added by hand, no. 1</span> <q>Yes, since May.</q>" in page
    form = html.unescape(anna.get(f"{path}/row?file=(added)&row=1").text)
    assert "the answer" in form and "Yes, since May." in form and ">user</textarea>" not in form
    number = re.findall(r'name="problem" value="(\d+)">Keep the answer that was added by hand last', page)[0]
    page = change(anna, service, path, "fixes", problem=number, code="conflicting_answers", offset=0)
    assert 'id="problems"' not in page and about(anna, path)["rows"] == 31
    shown = anna.get(f"{path}/rows?only=left-out").text
    assert "No, never." in shown and "Yes, since May." not in shown


def test_no_sentence_of_the_page_is_about_the_command_line(anna: TestClient, service: Service) -> None:
    odd = [["Was", "Dann"], *([f"Is thing number {i} good or not?", f"Thing number {i} is good."] for i in range(40))]
    page = anna.get(upload(anna, service, table(*odd))).text
    assert "How your file was read" in html.unescape(page) and "--map" not in page
    keys = [key for key in sentences("en", "problems") if key.endswith(".hint")]
    of_shell = [key for key in keys if re.search("--[a-z]|`postil", sentences("en", "problems")[key])]
    assert of_shell and all(has_sentence(f"data_page.hint.{key.split('.')[1]}") for key in of_shell)


def test_few_rows_cannot_be_judged_and_that_is_said(anna: TestClient, service: Service) -> None:
    rows = list(csv.reader(io.StringIO(GOOD.decode())))
    few = html.unescape(anna.get(upload(anna, service, table(*rows[:6]))).text)
    assert '<div class="note warn"><p>5 rows are enough to try the way, but not to judge the result' in few
    more = html.unescape(anna.get(upload(anna, service, table(*rows[:41]))).text)
    assert "40 rows are enough for a first try" in more and "judge the result" not in more


def test_what_is_missing_is_said_and_chosen_from_the_headers(anna: TestClient, service: Service) -> None:
    only = table(["Answer", "No"], *([f"We deliver within {i} days, as a rule.", str(i)] for i in range(2, 40)))
    path = upload(anna, service, only)
    page = html.unescape(anna.get(path).text)
    assert "A column of answers was recognised, but none of questions." in page
    first, folded = page.split("<summary>Other columns")
    assert 'name="named.question"' in first and 'name="named.answer"' in first and 'name="named.system"' in folded
    assert page.count('<option value="No">No</option>') == page.count('name="named.')
    assert "nothing to learn from it" in anna.get("/data").text
    empty = anna.get(upload(anna, service, table(["Question", "Answer"]), "empty.csv")).text
    assert 'name="named.question"' not in empty


def test_an_error_value_may_be_typed_over(anna: TestClient, service: Service) -> None:
    rows = list(csv.reader(io.StringIO(GOOD.decode())))[:31]
    path = upload(anna, service, table(*rows, ["What does it cost?", "#REF!"]))
    assert "Press Edit and type here what should stand there" in anna.get(f"{path}?code=cell_error").text


def test_two_of_one_name_are_told_apart(anna: TestClient, service: Service) -> None:
    first, second = (upload(anna, service, MISTAKES, "shop.csv") for _ in range(2))
    assert [about(anna, path)["name"] for path in (first, second)] == ["shop", "shop (2)"]
    assert "You have sent the very same file before" in anna.get(second).text
    page = change(anna, service, second, "fixes", automatic="yes")
    assert "the very same file" not in page
    listed = html.unescape(anna.get("/data").text)
    assert "shop (2)" in listed and "needs a look" in listed


def test_columns_are_shown_on_the_users_header_and_changed(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    page = anna.get(path).text
    header = re.findall(r'name="column" value="([^"]+)"', page)
    assert sorted(header) == ["Answer", "Question", "Remark"]
    swapped = {"part": "columns", "column": header, "purpose": ["answer", "question", ""]}
    page = change(anna, service, path, "options", **swapped)
    assert about(anna, path)["options"]["columns"] == {"answer": header[0], "question": header[1]}
    both = {"version": 2, "part": "columns", "column": header, "purpose": ["answer", "answer", "system"]}
    refused = anna.post(f"{path}/options", data=both)
    assert refused.status_code == 422 and "Two columns are both said to be this" in refused.text
    assert refused.text.count('value="answer" selected') == 2 and 'value="system" selected' in refused.text
    assert "Find it out by itself" in page
    change(anna, service, path, "options", part="columns", automatic="yes")
    assert about(anna, path)["options"]["columns"] == {}


def test_columns_are_named_where_none_were_found(anna: TestClient, service: Service) -> None:
    odd = "\n".join(["alpha,beta", *(f"topic number {i},our rule number {i}" for i in range(20))]).encode()
    path = upload(anna, service, odd)
    if about(anna, path)["rows"]:
        pytest.skip("the columns were told by their content")
    named = {"part": "columns", "named.question": "alpha", "named.answer": "beta"}
    assert "20 questions and answers found." in change(anna, service, path, "options", **named)


def test_chats_are_taken_apart_and_put_together_again(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, CHATS, "chat.txt")
    page = anna.get(path).text
    assert "12 conversations found." in page and "12 of 12 go on for more than one question" in page
    assert page.count('class="bubble user"') == 6 and "And what does room 0 cost?" in page
    page = change(anna, service, path, "options", part="turns", single_turn="yes")
    assert "24 questions and answers found." in page and "Keep conversations together" in page
    page = change(anna, service, path, "options", part="turns", single_turn="no")
    assert "12 conversations found." in page


def test_the_kind_is_named_with_its_evidence_and_changed(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, CHATS, "chat.txt")
    page = anna.get(path).text
    assert "<strong>Conversations of several questions</strong>" in page
    assert "go on for more than one question (2.0 on average)" in page
    page = change(anna, service, path, "options", part="kind", kind="customer_service")
    assert "<strong>Customer service</strong> (as you said)" in page and about(anna, path)["kind"] == "customer_service"
    wrong = anna.post(f"{path}/options", data={"version": 2, "part": "kind", "kind": "poetry"})
    assert wrong.status_code == 422
    change(anna, service, path, "options", part="kind", kind="")
    assert about(anna, path)["options"]["kind"] is None


def test_another_encoding_and_the_way_back_from_a_wrong_one(anna: TestClient, service: Service) -> None:
    rows = "\n".join(["问题,回答", *(f"第{i}个问题怎么办？,第{i}个问题这样处理就可以。" for i in range(30))])
    path = upload(anna, service, rows.encode("gb18030"), "常见问题.csv")
    assert "The text was read as gb18030" in anna.get(path).text
    page = change(anna, service, path, "options", part="encoding", encoding="utf-8")
    assert about(anna, path)["state"] == "unreadable"
    assert 'value="utf-8" selected' in page and "Undo the last change" in page and "/base" not in page
    assert "30 questions and answers found." in change(anna, service, path, "undo")
    assert 'name="encoding"' not in anna.get(upload(anna, service, b"\xff\xd8\xff\xe0" + bytes(900), "a.jpg")).text


def test_going_back_to_any_version(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    assert "Undo the last change" not in anna.get(path).text
    change(anna, service, path, "left-out", row=2)
    change(anna, service, path, "left-out", row=3)
    page = change(anna, service, path, "undo", to=1)
    assert about(anna, path)["rows"] == 32 and "(to version 1)" in page and "Rows were left out" in page
    assert "Undo the last change" not in page, "it is as it was uploaded"
    change(anna, service, path, "undo", to=3)
    assert about(anna, path)["rows"] == 30


def test_renamed_and_deleted(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    assert f"<h1>{HARM}</h1>" in change(anna, service, path, "name", name=HARM)
    refused = anna.post(f"{path}/name", data={"name": "x" * 130})
    assert refused.status_code == 422 and "x" * 130 in refused.text and " open>" in refused.text
    gone = anna.post(f"{path}/delete", follow_redirects=False)
    assert gone.status_code == 303 and gone.headers["location"] == "/data"
    assert anna.get(path).status_code == 404 and "There is no such data set" in anna.get(path).text


def test_a_data_set_that_a_training_needs_stays(anna: TestClient, service: Service) -> None:
    dataset_id = upload_pairs(anna, service)
    assert anna.post("/api/jobs", json={"dataset_id": dataset_id}).status_code == 201
    refused = anna.post(f"/data/{dataset_id}/delete")
    assert refused.status_code == 409 and "cannot be deleted" in refused.text
    assert anna.get(f"/data/{dataset_id}").status_code == 200


@pytest.mark.parametrize("language", LANGUAGES)
def test_harmful_text_stays_text(anna: TestClient, service: Service, language: str) -> None:
    """T5: cells, headers, sheets and names of files."""
    rows = [f"question {HARM},answer {HARM}", *(f"What {HARM} {i}?,So {HARM} {i}." for i in range(8)), f"{HARM},"]
    anna.post("/language", data={"language": language, "next": "/"})
    path = upload(anna, service, "\n".join(rows).encode(), f"{HARM}.csv")
    change(anna, service, path, "name", name=HARM)
    edit = f"{path}/row?row=10&column=answer+{HARM}&code={HARM}"
    pages = [path, f"{path}?code={HARM}", f"{path}/rows", "/data", edit, f"{path}/state?then=tell"]
    for address in pages:
        for headers in ({}, HTMX):
            shown = anna.get(address, headers=headers)
            assert shown.status_code in (200, 286), address
            assert "<img" not in shown.text, address
    assert html.escape(HARM) in anna.get(path).text


def test_nothing_of_another_account(anna: TestClient, berta: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    for address in ("", "/state", "/rows", "/file", "/row?row=2"):
        assert berta.get(f"{path}{address}").status_code == 404, address
    for verb in ("fixes", "left-out", "options", "undo", "name", "delete", "cells"):
        assert berta.post(f"{path}/{verb}").status_code == 404, verb
        assert berta.post(f"{path}/{verb}", data={"version": 1, "name": "mine", "row": 2}).status_code == 404, verb
    assert about(anna, path)["version"] == 1


def test_forms_that_say_nothing_change_nothing(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    for verb in ("fixes", "left-out", "options", "undo", "name", "cells"):
        reply = anna.post(f"{path}/{verb}", data={"version": "1" if verb != "undo" else "one"})
        assert reply.status_code in (409, 422), verb
        assert 'role="alert"' in reply.text
    assert about(anna, path)["version"] == 1


def test_a_session_that_ends_in_mid_form_loses_nothing(anna: TestClient, service: Service) -> None:
    path = upload(anna, service, MISTAKES)
    anna.cookies.clear()
    typed = {"version": 1, "row": 32, "column": "Answer", "text": "typed for long"}
    asked = anna.post(f"{path}/cells", data=typed)
    assert asked.status_code == 401
    assert 'name="kept.text" value="typed for long"' in asked.text and f'name="next" value="{path}/cells"' in asked.text


def test_the_code_on_the_page_works(anna: TestClient, service: Service, served: str, tmp_path: Path) -> None:
    path = upload(anna, service, MISTAKES)
    key = anna.post("/api/keys", json={"name": "k"}).json()["secret"]
    shown = html.unescape(anna.get(path).text).replace("http://127.0.0.1:8321", served)
    by_curl, by_python = re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code></pre>", shown, re.DOTALL)
    told = run_while_checking(service, [sys.executable, "-c", by_python], key, tmp_path)
    assert told.startswith("ready ") and (tmp_path / "faq-corrected.csv").exists()
    change(anna, service, path, "undo")
    if shutil.which("curl") is not None:
        again = by_curl.replace('"version": 1', f'"version": {about(anna, path)["version"]}')
        run_while_checking(service, ["sh", "-c", again], key, tmp_path)
        assert about(anna, path)["version"] == 4


def test_every_kind_of_problem_in_data_has_a_title(new_client: NewClient) -> None:
    codes = {key.split(".")[1] for key in sentences("en", "problems") if key.count(".") == 2 and key.endswith(".hint")}
    of_training = re.compile(
        r"(template_|answer_(holds|joins|not|rewritten|dropped)|control_token$|prompt_differs|marks_unclear|nothing_trained"
        r"|thinking_|tools_not|calls_not|round_trip|held_back|too_few_rows)"
    )
    without = {code for code in codes if not has_sentence(f"data_page.kind.{code}") and not of_training.match(code)}
    assert not without
