"""The client: what is sent twice and what is not, errors in the service's words, uploads that break and go on."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

import postil
from postil.client import transport
from postil.client.transport import Transport, error_of
from postil.errors import (
    CannotWriteError,
    ConflictError,
    DataError,
    MissingInputError,
    NotAllowedError,
    PostilError,
    QuotaError,
    TooManyError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from postil.wire.accounts import Account
from postil.wire.errors import status_of
from tests.web.conftest import NewClient

Answer = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between tries take no time; their lengths are kept."""
    waited: list[float] = []
    monkeypatch.setattr("postil.client.transport.time.sleep", waited.append)
    return waited


def failing(*answers: int | httpx2.Response | Exception) -> tuple[Transport, list[httpx2.Request]]:
    """A transport whose service answers so, one request after the other."""
    asked: list[httpx2.Request] = []
    rest = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        found = rest.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx2.Response) else httpx2.Response(found, json={"error": {"code": "x"}})

    http = httpx2.Client(base_url="http://service", transport=httpx2.MockTransport(answer))
    return Transport(http), asked


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_what_may_be_done_twice_is_tried_again(method: str) -> None:
    made, asked = failing(503, httpx2.ConnectError("refused"), 429, 200)
    assert made.send(method, "/a").status_code == 200
    assert len(asked) == 4


def test_a_post_is_sent_once() -> None:
    made, asked = failing(503)
    with pytest.raises(TryAgainError):
        made.send("POST", "/a")
    assert len(asked) == 1


def test_four_tries_are_enough() -> None:
    made, asked = failing(*[503] * 9)
    with pytest.raises(TryAgainError):
        made.send("GET", "/a")
    assert len(asked) == transport.TRIES


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 422, 507])
def test_what_will_not_change_is_not_tried_again(status: int) -> None:
    made, asked = failing(status)
    with pytest.raises(PostilError):
        made.send("GET", "/a")
    assert len(asked) == 1


def test_the_service_says_when(no_waiting: list[float]) -> None:
    later = httpx2.Response(503, headers={"retry-after": "7"}, json={"error": {"code": "x", "message": "m"}})
    forever = httpx2.Response(503, headers={"retry-after": "9999"}, json={"error": {}})
    made, _ = failing(later, forever, 503, 200)
    made.send("GET", "/a")
    assert no_waiting == [7.0, transport.LONGEST_WAIT_SECONDS, 2.0]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "web.not_json", UsageError),
        (401, "web.not_signed_in", NotAllowedError),
        (403, "web.needs_train", NotAllowedError),
        (402, "platform.money.short", QuotaError),
        (404, "platform.jobs.no_such", MissingInputError),
        (409, "platform.jobs.not_ended", ConflictError),
        (413, "web.too_large", DataError),
        (422, "web.invalid_request", UsageError),
        (422, "platform.uploads.empty", DataError),
        (429, "platform.limits.too_many", TooManyError),
        (500, "web.bug", TryAgainError),
        (503, "web.no_answers", TryAgainError),
        (507, "web.disk_full", CannotWriteError),
    ],
)
def test_errors_are_of_our_kinds_in_the_services_words(status: int, code: str, kind: type[PostilError]) -> None:
    problems = [{"field": "body.name", "message": "It is missing."}]
    told = {"code": code, "message": "What was found.", "hint": "What to do.", "problems": problems}
    error = error_of(httpx2.Response(status, json={"error": told}, headers={"x-request-id": "req_1"}))
    assert type(error) is kind
    assert error.message == "What was found.\n  body.name: It is missing."
    assert error.hint == "What to do."
    assert (error.values["code"], error.values["request_id"]) == (code, "req_1")
    if isinstance(error, NotAllowedError):
        assert error.is_signed_in is (status == 403)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("web.invalid_request"),
        DataError("platform.uploads.empty"),
        DataError("platform.storage.too_large"),
        MissingInputError("platform.jobs.no_such"),
        UnavailableError("platform.database.damaged"),
        CannotWriteError("web.disk_full"),
        ConflictError("platform.jobs.not_ended"),
        TryAgainError("web.no_answers"),
        TooManyError("platform.limits.too_many"),
        NotAllowedError("web.not_signed_in", is_signed_in=False),
        NotAllowedError("web.needs_train"),
        QuotaError("platform.money.account_cap"),
    ],
    ids=lambda error: error.key,
)
def test_an_error_is_of_the_same_kind_on_both_sides(error: PostilError) -> None:
    read = error_of(httpx2.Response(status_of(error), json={"error": {"code": error.key}}))
    assert type(read) is type(error)
    assert getattr(read, "is_signed_in", None) == getattr(error, "is_signed_in", None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": 5}', b"\xff"])
def test_an_answer_of_something_else_is_an_error_too(body: bytes) -> None:
    error = error_of(httpx2.Response(502, content=body))
    assert isinstance(error, TryAgainError)
    assert error.message == "HTTP 502"


def test_nobody_there() -> None:
    made, asked = failing(*[httpx2.ConnectError("refused")] * 4)
    with pytest.raises(TryAgainError, match="does not answer: refused"):
        made.ask(Account, "GET", "/api/account")
    assert len(asked) == 4


def test_an_address_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTIL_URL", raising=False)
    with pytest.raises(UsageError):
        postil.Client()
    monkeypatch.setenv("POSTIL_URL", "http://service")
    monkeypatch.setenv("POSTIL_API_KEY", "pk_1")
    with postil.Client() as client:
        assert client.http.headers["authorization"] == "Bearer pk_1"


def test_an_upload_goes_on_where_it_broke(
    served: str, new_client: NewClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postil.client.files.PIECE_BYTES", 1000)
    key = new_client("anna").post("/api/keys", json={"name": "k"}).json()["secret"]
    file = tmp_path / "问答.csv"
    file.write_text("question,answer\n" + "".join(f"q{n},a{n}\n" for n in range(500)), "utf-8")
    with postil.Client(served, key) as client:
        real, broken = client.transport.http.request, []

        def breaking(method: str, path: str, **sent: object) -> httpx2.Response:
            reply = real(method, path, **sent)  # type: ignore[arg-type]
            if method == "PUT" and len(broken) < 2:  # the piece has come; its answer is lost
                broken.append(path)
                raise httpx2.ReadError("broken")
            return reply

        monkeypatch.setattr(client.http, "request", breaking)
        data = client.upload(file, name="my data")
        assert len(broken) == 2
        assert (data.name, data.file_name, data.num_bytes) == ("my data", "问答.csv", file.stat().st_size)
        import hashlib

        assert data.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        with pytest.raises(MissingInputError):
            client.upload(tmp_path / "none.csv")


def test_a_file_is_saved_whole_under_a_name_of_ours(tmp_path: Path) -> None:
    from postil.client.files import save

    def answer(name: str, content: bytes = b"data") -> Transport:
        named = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
        return failing(*[httpx2.Response(200, content=content, headers=named)] * 2)[0]

    assert save(answer("%E5%AE%A2.zip"), "/a", tmp_path, {}).name == "客.zip"
    for name in ("..%2F..%2Fevil", "%2Fetc%2Fpasswd", "..%5Cevil", ".."):
        saved = save(answer(name), "/a", tmp_path, {})
        assert saved.parent == tmp_path
        saved.unlink()
    with pytest.raises(CannotWriteError):
        save(answer("x"), "/a", tmp_path / "客.zip", {})
    assert {path.name for path in tmp_path.iterdir()} == {"客.zip"}


def test_pieces_of_an_answer_are_joined_and_errors_in_them_raised() -> None:
    from postil.client.answers import ask_in_pieces

    def stream(*lines: str) -> Transport:
        return failing(httpx2.Response(200, text="".join(f"{line}\n\n" for line in lines)))[0]

    def piece(text: str) -> str:
        return "data: " + json.dumps({"choices": [{"delta": {"content": text}}]})

    whole = ask_in_pieces(stream(piece("a"), piece("b"), "data: [DONE]"), "m", "q", {})
    assert "".join(whole) == "ab"
    for lines in ([piece("a")], [piece("a"), 'data: {"error": {"message": "broke"}}']):
        with pytest.raises(TryAgainError):
            list(ask_in_pieces(stream(*lines), "m", "q", {}))
