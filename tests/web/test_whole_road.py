"""The whole road without code, with real runs: an account, a workbook with mistakes, an adapter, answers, a bill."""

import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from openpyxl import Workbook, load_workbook

import postil
from postil.errors import ConflictError, MissingInputError
from tests.web.running import PASSWORD, Running, run_service

QUICK = {"training.epochs": 1, "training.batch_rows": 4, "evaluation.max_answers": 2, "adapter.rank": 4}
ROWS = [(f"Do you sell the teapot number {n}?", f"Yes, teapot number {n} is in the shop.") for n in range(1, 17)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with all its processes."""
    with run_service(tmp_path_factory.mktemp("service") / "data", free_rows_per_month=8) as running:
        yield running


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    """Sixteen good rows, one without an answer, and one with blanks around its text."""
    book = Workbook()
    sheet = book.active
    sheet.title = "FAQ"
    for row in [
        ("Question", "Answer"),
        *ROWS,
        ("Do you ship abroad?", None),
        ("  Where are you?  ", "In the old town.  "),
    ]:
        sheet.append(row)
    path = tmp_path / "客服 FAQ.xlsx"
    book.save(path)
    return path


def test_from_a_workbook_to_answers_and_a_bill(running: Running, workbook: Path, tmp_path: Path) -> None:
    with running.client("anna") as browser, postil.Client(running.address, running.key("anna")) as client:
        # upload, and be told what is wrong
        data = client.check(client.upload(workbook))
        assert data.file_name == "客服 FAQ.xlsx"
        assert data.state == "needs_attention"
        report = client.report(data.id)
        missing = next(p for p in report.problems if p.severity == "error")
        assert (missing.sheet, missing.row) == ("FAQ", 18)

        # mend it: a row left out, and back again; a cell by hand; and what needs no asking
        left_out = client.check(client.leave_out(data, [18], sheet="FAQ"))
        assert left_out.state == "ready"
        with pytest.raises(ConflictError):  # somebody else's older view must not overwrite it
            client.edit_cell(data, 18, "Answer", "too late", sheet="FAQ")
        back = client.check(client.undo(left_out))
        data = client.check(client.edit_cell(back, 18, "Answer", "Yes, to all countries.", sheet="FAQ"))
        data = client.check(client.fix(data))
        assert (data.state, data.rows) == ("ready", 18)
        corrected = load_workbook(client.corrected_file(data.id, tmp_path))["FAQ"]
        assert corrected["B18"].value == "Yes, to all countries."
        assert corrected["A19"].value == "Where are you?"

        # look before it starts, then start
        preview = client.preview(data, preset="quick", settings=QUICK)
        assert not preview.problems
        assert preview.price.free_rows == 8 and preview.price.expected_micro > 0
        assert {s.name: s.value for s in preview.recommendation.settings}["adapter.rank"] == 4
        job = client.train(data, preset="quick", settings=QUICK, name="teapots")
        states = list(client.watch(job.id, every_seconds=0.3))
        job = states[-1]
        assert job.state == "succeeded", job.error
        assert any(s.progress.percent for s in states)
        kinds = [event["event"] for event in client.events(job.id).events]
        assert "training_planned" in kinds and kinds[-1] == "finished"
        assert not any(str(running.data) in str(event) for event in client.events(job.id).events)

        # the adapter answers beside its base, through the unmodified openai client
        adapter = client.adapter(str(job.adapter_id))
        assert adapter.name == "teapots" and adapter.job_id == job.id
        assert [m.id for m in client.models().data] == ["starter", adapter.model_name]
        chat = openai.OpenAI(base_url=f"{running.address}/v1", api_key=running.key("anna"), max_retries=0)
        question = [{"role": "user", "content": ROWS[0][0]}]
        for model in ("starter", adapter.model_name):
            whole = chat.chat.completions.create(model=model, messages=question, temperature=0, max_tokens=12)  # type: ignore[arg-type]
            pieces = chat.chat.completions.create(  # type: ignore[call-overload]
                model=model, messages=question, temperature=0, max_tokens=12, stream=True
            )
            streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
            assert whole.choices[0].message.content == streamed
            assert whole.model == model
        assert client.chat(adapter.id, question, temperature=0, max_tokens=12)  # by its id as well

        # shared: another account may ask it, not change it, and loses it at once
        with postil.Client(running.address, running.key("berta")) as other:
            with pytest.raises(MissingInputError):
                other.chat(adapter.model_name, "hello", max_tokens=2)
            client.share(adapter.id, "berta")
            assert other.chat(adapter.model_name, "hello", max_tokens=2)
            with pytest.raises(MissingInputError):
                other.rename_adapter(adapter.id, "mine")
            client.unshare(adapter.id, "berta")
            with pytest.raises(MissingInputError):
                other.chat(adapter.model_name, "hello", max_tokens=2)

        # the bill adds up: eight rows were free, ten were paid
        balance = client.balance()
        assert browser.get("/api/ledger/check").json() == balance.model_dump()
        assert balance.owed_micro == job.cost_micro == sum(line.amount_micro for line in client.ledger())
        assert preview.price.low_micro <= balance.owed_micro <= preview.price.high_micro
        assert (balance.free_rows_left, balance.reserved_micro) == (0, 0)
        assert {line.kind for line in client.ledger(job=job.id)} >= {"estimate", "reserve", "settle"}

        # away with it
        names = zipfile.ZipFile(client.download(adapter.id, tmp_path)).namelist()
        assert any(name.endswith("adapter_model.safetensors") for name in names)
        assert browser.post("/api/account/delete", json={"password": "wrong"}).status_code == 403
        freed = browser.post("/api/account/delete", json={"password": PASSWORD})
        assert freed.status_code == 200 and freed.json()["freed_bytes"] > 0
        assert browser.get("/api/account").status_code == 401
        assert httpx2.get(f"{running.address}/api/account", headers=client.http.headers).status_code == 401
        assert not any(path.is_file() for path in (running.data / "storage" / "adapters").rglob("*"))
        assert not list((running.data / "runs").glob("job_*"))


def test_an_answer_that_nobody_reads_is_not_written_on(running: Running) -> None:
    key = running.key("cara")
    body = {"model": "starter", "stream": True, "max_tokens": 400, "temperature": 1, "seed": 1}
    body |= {"messages": [{"role": "user", "content": "Tell me everything."}], "stop": None}
    headers = {"authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=running.address, headers=headers, trust_env=False, timeout=60) as client:
        admin = running.data / "serving.json"
        assert admin.stat().st_mode & 0o077 == 0
        with client.stream("POST", "/v1/chat/completions", json=body) as reply:
            assert next(reply.iter_lines()).startswith("data: ")
        ends = time.monotonic() + 2
        while _figure(client, "postil_answers_running"):
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_what_the_answering_process_refuses_is_said_in_the_language_of_the_account(running: Running) -> None:
    said = {}
    with running.client("emma") as browser:
        for language in ("zh", "en"):
            assert browser.patch("/api/account", json={"language": language}).status_code == 200
            body = {"model": "starter", "messages": [{"role": "user", "content": "hello"}], "logprobs": True}
            plain = browser.post("/v1/chat/completions", json=body, headers={"accept-language": "fr"})
            streamed = browser.post("/v1/chat/completions", json=body | {"stream": True})
            assert plain.status_code == streamed.status_code == 400
            assert plain.json() == streamed.json()
            said[language] = plain.json()["error"]
    assert said["zh"].pop("message").count("。") >= 1 and "。" not in said["en"].pop("message")
    assert said["zh"] == said["en"] and said["en"]["code"] == "unsupported_parameter"


def _figure(client: httpx2.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name)))


def test_a_signed_out_session_loses_its_stream(running: Running) -> None:
    with running.client("dora") as browser:
        body = {"model": "starter", "stream": True, "max_tokens": 2000, "temperature": 2, "n": 8}
        body |= {"messages": [{"role": "user", "content": "Go on and on."}]}
        with browser.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = reply.iter_lines()
            assert next(lines).startswith("data: ")
            with running.client("dora") as elsewhere:
                assert elsewhere.post("/api/sign-out-everywhere").status_code == 204
            rest = [line for line in lines if line]
        assert "web.signed_out_meanwhile" in rest[-1]


def test_metrics_and_document(running: Running) -> None:
    text = httpx2.get(f"{running.address}/metrics", trust_env=False).text
    assert 'postil_ready{part="supervisor"} 1' in text
    assert "postil_http_request_seconds_bucket" in text
    behind_proxy = {"x-forwarded-for": "203.0.113.9"}
    assert httpx2.get(f"{running.address}/metrics", headers=behind_proxy, trust_env=False).status_code == 401


def test_the_idle_web_process_is_small(running: Running) -> None:
    import psutil

    children = psutil.Process(running.process.pid).children()
    web = next(child for child in children if "postil.web" in child.cmdline())
    assert web.memory_info().rss < 150e6
    token = json.loads((running.data / "serving.json").read_text())["token"]
    assert not any(token in " ".join(child.cmdline()) for child in children)
