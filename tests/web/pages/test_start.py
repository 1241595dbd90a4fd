"""Coming in by pages: registering, signing in, the end of a session in the middle of a form, and the language."""

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import ADDRESS, PASSWORD, NewClient


def hidden_fields(text: str) -> dict[str, str]:
    """Fields that a page carries on."""
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text.split("<main")[1]))


def test_registering_signs_in_and_leads_home(anonymous: TestClient) -> None:
    reply = anonymous.post("/register", data={"name": "mei", "password": PASSWORD})
    assert reply.status_code == 200 and reply.url.path == "/models"
    assert anonymous.get("/sign-in").url.path == "/models"


def test_what_is_wrong_is_said_and_what_was_typed_stays(anonymous: TestClient) -> None:
    reply = anonymous.post("/register", data={"name": "mei <b>", "password": "short"})
    assert reply.status_code == 422 and 'value="mei &lt;b&gt;"' in reply.text
    assert 'value="short"' not in reply.text
    reply = anonymous.post("/sign-in", data={"name": "nobody", "password": PASSWORD, "next": "/data"})
    assert reply.status_code == 401 and 'value="nobody"' in reply.text and hidden_fields(reply.text)["next"] == "/data"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\\\evil.example", "javascript:alert(1)"]
)
def test_nobody_is_sent_to_another_site(anna: TestClient, target: str) -> None:
    anna.cookies.clear()
    reply = anna.post("/sign-in", data={"name": "anna", "password": PASSWORD, "next": target}, follow_redirects=False)
    assert reply.status_code == 303 and reply.headers["location"] == "/"


def test_a_form_survives_the_end_of_its_session(anna: TestClient) -> None:
    anna.cookies.clear()
    typed = {"rows": "question,answer\nDo you ship?,Yes & no", "name": 'my "rows"', "password": "secret words"}
    asked = anna.post("/new/paste", data=typed)
    assert asked.status_code == 401 and "secret words" not in asked.text
    fields = {name: value for name, value in hidden_fields(asked.text).items() if not name.startswith("kept.")}
    assert fields == {"next": "/new/paste", "again": "1"}
    kept = {name: unescape(value) for name, value in hidden_fields(asked.text).items() if name.startswith("kept.")}
    wrong = anna.post("/sign-in", data={**fields, **kept, "name": "anna", "password": "not this one"})
    assert wrong.status_code == 401 and hidden_fields(wrong.text).keys() == {*fields, *kept}
    back = anna.post("/sign-in", data={**fields, **kept, "name": "anna", "password": PASSWORD})
    assert back.status_code == 200 and 'action="/new/paste"' in back.text
    again = {name: unescape(value) for name, value in hidden_fields(back.text).items()}
    assert again == {"rows": typed["rows"], "name": typed["name"]}
    assert anna.post("/new/paste", data=again).url.path.startswith("/data/ds_")


def test_a_form_without_fields_is_sent_again_too(anna: TestClient) -> None:
    anna.cookies.clear()
    asked = anna.post("/jobs/job_0000000000000000/pause")
    assert asked.status_code == 401
    back = anna.post("/sign-in", data={**hidden_fields(asked.text), "name": "anna", "password": PASSWORD})
    assert back.status_code == 200 and 'method="post" action="/jobs/job_0000000000000000/pause"' in back.text


def test_a_file_that_is_gone_is_not_called_kept(anna: TestClient) -> None:
    anna.cookies.clear()
    asked = anna.post("/new", files={"file": ("a.csv", b"q,a\n")}, headers={"referer": f"{ADDRESS}/new"})
    assert asked.status_code == 401 and hidden_fields(asked.text) == {"next": "/new"}
    assert anna.post("/sign-out", follow_redirects=False).headers["location"] == "/sign-in"


def test_the_language_is_kept_by_browser_and_account(anna: TestClient, new_client: NewClient) -> None:
    reply = anna.post("/language", data={"language": "zh", "next": "/data"})
    assert reply.url.path == "/data" and 'lang="zh-Hans"' in reply.text
    assert anna.get("/api/account").json()["language"] == "zh"
    nobody = new_client()
    nobody.post("/language", data={"language": "zh", "next": "/register"})
    assert "注册" in nobody.get("/register").text
    assert 'lang="en"' in new_client().get("/register", headers={"accept-language": "en"}).text


def test_from_a_page_that_a_form_has_brought_the_language_leads_back(anonymous: TestClient) -> None:
    reply = anonymous.post(
        "/register", data={"name": "mei", "password": "short"}, headers={"referer": f"{ADDRESS}/register?x=1"}
    )
    assert 'name="next" value="/register?x=1"' in reply.text


def test_parts_of_a_page_send_the_whole_page_to_the_sign_in(anna: TestClient) -> None:
    anna.cookies.clear()
    headers = {"hx-request": "true", "hx-current-url": f"{ADDRESS}/jobs/job_x"}
    reply = anna.get("/jobs/job_x/progress", headers=headers)
    assert reply.status_code == 401 and reply.headers["hx-redirect"] == "/sign-in?next=/jobs/job_x"


def test_help_is_there_for_everybody_in_their_language(anonymous: TestClient, anna: TestClient) -> None:
    reply = anonymous.get("/help", follow_redirects=False)
    assert reply.status_code == 200
    assert "The eight steps" in reply.text and 'href="/register"' in reply.text and 'href="/account"' not in reply.text
    assert 'href="/help"' in anonymous.get("/sign-in").text
    anna.post("/language", data={"language": "zh", "next": "/help"})
    reply = anna.get("/help")
    assert "八个步骤" in reply.text and 'href="/account"' in reply.text and 'href="/new"' in reply.text
    assert '<a href="/help" aria-current="page">帮助</a>' in reply.text
