"""The page of settings: what it says is what the platform says, what is typed is kept, one press makes one job."""

import html
import re
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from postil.config import setting_paths
from postil.language import say, use_language
from postil.platform.bases.bases import list_bases, start_download
from postil.platform.jobs.jobs import request_cancel
from postil.platform.jobs.requests import SETTINGS
from postil.platform.money.prices import change_prices
from postil.platform.service import Service
from postil.platform.store.tables import Account, BaseModelEntry, Dataset
from postil.web.pages import sheet
from postil.web.pages.drawer import drawer_fields, read_settings
from postil.web.pages.formats import money
from tests.platform.rows import add_dataset
from tests.web.pages.page_fields import fields_of, text_of

HTMX = {"hx-request": "true"}
PRESETS = ("quick", "recommended", "thorough")


@pytest.fixture
def account_id(anna: TestClient) -> str:
    """Anna's."""
    return str(anna.get("/api/account").json()["id"])


@pytest.fixture
def dataset_id(account_id: str, service: Service) -> str:
    """Sixty good rows of Anna's, ten of which are free."""
    change_prices(service, free_rows_per_month=10)
    return add_dataset(service, account_id)


def settings_path(dataset_id: str, base: str = "starter", **query: str) -> str:
    return f"/data/{dataset_id}/settings?base={base}" + "".join(f"&{k}={v}" for k, v in query.items())


def preview(client: TestClient, dataset_id: str, **wish: Any) -> dict[str, Any]:
    reply = client.post("/api/preview", json={"dataset_id": dataset_id, **wish})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def passes_in(plan: dict[str, Any]) -> str:
    epochs = next(s["value"] for s in plan["recommendation"]["settings"] if s["name"] == "training.epochs")
    return f"{epochs:g} passes"


def headline_in(page: str) -> str:
    return html.unescape(re.search(r'<section class="card plan">\s*<h2>(.*?)</h2>', page)[1])  # type: ignore[index]


def test_everything_is_filled_in_with_the_numbers_of_the_platform(anna: TestClient, dataset_id: str) -> None:
    reply = anna.get(settings_path(dataset_id))
    assert reply.status_code == 200
    plan = preview(anna, dataset_id)
    headline, seen = headline_in(reply.text), text_of(reply.text)
    assert headline.startswith("Questions about facts, 60 rows (48 learned, 12 kept aside): ")
    assert passes_in(plan) in headline
    assert money(plan["price"]["expected_micro"], "CNY") in headline and plan["price"]["expected_micro"] > 0
    assert re.search(r"about [\d.-]+ (s|min|h),", headline)
    assert "10 of 10" in seen and "10 rows" in seen  # the free ones, and those that this takes
    for setting in plan["recommendation"]["settings"]:
        assert setting["reason"] in seen
    assert "has not been trained on this machine yet" in seen
    assert "of text" in seen and "kept away from training" in seen
    assert "Worked out, not measured" in seen and "Measured on this machine" not in seen


def test_each_preset_says_what_it_takes(anna: TestClient, dataset_id: str) -> None:
    page = anna.get(settings_path(dataset_id)).text
    said = {}
    for preset in PRESETS:
        plan = preview(anna, dataset_id, preset=preset)
        said[preset] = re.search(rf'id="takes-{preset}">(.*?)</span>', page)[1]  # type: ignore[index]
        assert money(plan["price"]["expected_micro"], "CNY") in said[preset]
    assert len(set(said.values())) == 3
    assert fields_of(page)["preset"] == "recommended"
    quick = anna.get(settings_path(dataset_id, preset="quick")).text
    assert fields_of(quick)["preset"] == "quick"
    assert passes_in(preview(anna, dataset_id, preset="quick")) in headline_in(quick)


def test_times_beside_each_other_are_told_in_one_unit(anna: TestClient, dataset_id: str) -> None:
    words = text_of(anna.get(settings_path(dataset_id)).text)
    units = re.findall(r"(?:about|up to|Learning:) [\d.-]+ (s|min|h)\b", words)
    assert len(units) >= 5 and len(set(units)) == 1  # the headline, three presets, and parts of the time
    assert not re.search(r"[ :]0(-| min)", words)


def test_the_number_of_passes_is_said_before_how_it_was_found(anna: TestClient, dataset_id: str) -> None:
    page, plan = anna.get(settings_path(dataset_id)).text, preview(anna, dataset_id)
    setting = next(s for s in plan["recommendation"]["settings"] if s["name"] == "training.epochs")
    words = text_of(page)
    found = re.search(rf"{passes_in(plan)}\. (\S.*?) Before that: (.*?) What would change it", words)
    assert found is not None and f"{found[2]} {found[1]}" == setting["reason"]
    assert words.count("A pass is going once through all rows that it learns from.") == 1
    assert f'<option value="fact_qa" selected>{say("data_page.purpose.fact_qa")}' in page  # named as on the data's page


def test_of_very_many_rows_only_the_chosen_preset_is_worked_out(
    anna: TestClient, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "MANY_ROWS", 59)
    page = anna.get(settings_path(dataset_id)).text
    assert text_of(page).count("worked out when you choose it") == 2
    assert money(preview(anna, dataset_id)["price"]["expected_micro"], "CNY") in headline_in(page)
    unknown = anna.get(settings_path(dataset_id, preset="slow"))
    assert unknown.status_code == 422 and "recommended, thorough" in text_of(unknown.text)


def test_the_plan_follows_preset_kind_and_settings(anna: TestClient, dataset_id: str) -> None:
    page = anna.get(settings_path(dataset_id)).text
    form = fields_of(page)
    changed = form | {"preset": "thorough", "kind": "role", "set.training.batch_rows": "16"}
    part = anna.post(f"/data/{dataset_id}/settings", data=changed, headers=HTMX)
    assert part.status_code == 200 and "<html" not in part.text
    wish = {"preset": "thorough", "kind": "role", "settings": {"training.batch_rows": 16}}
    plan = preview(anna, dataset_id, **wish)
    headline = headline_in(part.text)
    assert headline.startswith("A character with a voice of its own, 60 rows (48") and passes_in(plan) in headline
    assert money(plan["price"]["expected_micro"], "CNY") in headline
    assert headline != headline_in(page)
    for place in ("takes-quick", "now-training-warmup-steps", "said"):
        assert f'id="{place}" hx-swap-oob=' in part.text.replace('class="now" ', "")
    # without script: what an address can hold goes there, anything else is a page with all that was typed
    plain = anna.post(f"/data/{dataset_id}/settings", data=form | {"preset": "quick"}, follow_redirects=False)
    assert plain.headers["location"] == settings_path(dataset_id, preset="quick", kind=form["kind"])
    whole = anna.post(f"/data/{dataset_id}/settings", data=changed)
    kept = fields_of(whole.text)
    assert {name: kept[name] for name in changed if name not in ("client_token", "version")} == {
        name: value for name, value in changed.items() if name not in ("client_token", "version")
    }
    assert headline_in(whole.text) == headline


def test_a_chosen_number_of_steps_stands_in_place_of_passes(anna: TestClient, dataset_id: str) -> None:
    form = fields_of(anna.get(settings_path(dataset_id)).text) | {"set.training.max_steps": "１２"}
    part = anna.post(f"/data/{dataset_id}/settings", data=form, headers=HTMX)
    assert ": 12 steps, " in headline_in(part.text)


def test_every_setting_that_a_job_may_choose_is_in_the_drawer(anna: TestClient, dataset_id: str) -> None:
    page = anna.get(settings_path(dataset_id)).text
    names = {name.removeprefix("set.") for name in fields_of(page) if name.startswith("set.")}
    assert names == SETTINGS and len(SETTINGS) > 25
    for name in SETTINGS:
        sentence = setting_paths()[name].replace("None:", "left empty:").replace("None", "left empty, it")
        assert html.escape(sentence, quote=False).replace("'", "&#39;") in page, name
    assert "None" not in text_of(page)
    anna.patch("/api/account", json={"language": "zh"})
    chinese = anna.get(settings_path(dataset_id)).text
    assert "Width" not in chinese
    use_language("zh")
    try:
        for name in SETTINGS:
            assert say(f"config.{name}") in html.unescape(chinese), name
    finally:
        use_language(None)
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    for described in re.findall(r'aria-describedby="([^"]+)"', page):
        assert set(described.split()) <= ids
    assert set(re.findall(r'<label for="([^"]+)"', page)) <= ids


def test_wrong_fields_are_named_where_they_stand_and_nothing_typed_is_lost(anna: TestClient, dataset_id: str) -> None:
    typed = {
        "set.training.epochs": "three",
        "set.adapter.rank": "0",
        "set.training.batch_rows": "5000",
        "set.adapter.dropout": "1",
        "set.training.schedule": "zigzag",
        "set.adapter.use_dora": "maybe",
        "set.training.betas": "0.9",
        "set.data.system": "<b>You are kind.</b>\n  Yours, 店",
        "set.training.learning_rate": "2e-4",
        "seed": "-1",
        "name": "My shop",
    }
    form = fields_of(anna.get(settings_path(dataset_id)).text) | typed
    for path in ("train", "settings"):
        reply = anna.post(f"/data/{dataset_id}/{path}", data=form, follow_redirects=False)
        assert reply.status_code == 422
        kept = fields_of(reply.text)
        assert {name: kept[name] for name in typed} == typed
        assert reply.text.count('aria-invalid="true"') == 8
        for words in (
            "Write a number, such as 0.5.",
            "1 or more.",
            "4096 at most.",
            "Less than 1.",
            "linear, cosine, constant",
            "Write two numbers",
            "A whole number from 0 to 2147483647.",
        ):
            assert words in html.unescape(reply.text)
        assert "<b>You" not in reply.text
        assert "button big" not in reply.text
    assert anna.get("/api/jobs").json()["jobs"] == []


def test_passes_and_steps_exclude_each_other() -> None:
    settings, errors = read_settings({"training.epochs": "2", "training.max_steps": "5"})
    assert settings == {"training.epochs": 2.0, "training.max_steps": 5}
    assert errors.keys() == settings.keys()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("training.learning_rate", "1e-4", 1e-4),
        ("training.learning_rate", " ０．０００３ ", 0.0003),
        ("training.epochs", "0.5", 0.5),
        ("training.keep", "20", 20),
        ("training.betas", "0.9，0.99", [0.9, 0.99]),
        ("adapter.target_modules", "q_proj、 v_proj", ["q_proj", "v_proj"]),
        ("adapter.target_modules", "all-linear", "all-linear"),
        ("adapter.use_dora", "yes", True),
        ("adapter.init", "pissa", "pissa"),
        ("data.system", " Be kind, 店.\n", "Be kind, 店."),
    ],
)
def test_what_is_typed_is_read(name: str, text: str, value: object) -> None:
    assert read_settings({name: text}) == ({name: value}, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("training.epochs", "nan"),
        ("training.epochs", "1e999"),
        ("training.epochs", "0"),
        ("training.epochs", "101"),
        ("training.keep", "2.5"),
        ("training.keep", "9" * 5000),
        ("training.log_every", "1_0"),
        ("training.betas", "0.9, 1"),
        ("adapter.target_modules", " , "),
        ("data.system", "x" * 8001),
        ("adapter.bias", "None"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, text: str) -> None:
    settings, errors = read_settings({name: text})
    assert settings == {} and len(errors[name]) > 5


def test_fields_say_what_counts_where_they_are_empty() -> None:
    fields = {field.name: field for field in drawer_fields({}, {}, None)}
    assert fields["training.schedule"].now == "linear" and fields["adapter.use_dora"].now == "no"
    assert fields["training.betas"].now == "0.9, 0.95"
    assert fields["training.max_steps"].now == say("train_page.drawer.automatic")


def test_the_big_button_makes_one_job_however_often_it_is_pressed(
    anna: TestClient, service: Service, account_id: str, dataset_id: str
) -> None:
    form = fields_of(anna.get(settings_path(dataset_id, preset="quick")).text)
    form |= {"set.adapter.rank": "4", "set.training.betas": "0.8, 0.9", "seed": "7", "name": "Shop", "kind": "role"}
    sent = [anna.post(f"/data/{dataset_id}/train", data=form, follow_redirects=False) for _ in range(2)]
    assert [reply.status_code for reply in sent] == [303, 303]
    jobs = anna.get("/api/jobs").json()["jobs"]
    assert [reply.headers["location"] for reply in sent] == [f"/jobs/{jobs[0]['id']}"] * 2
    assert len(jobs) == 1 and jobs[0]["name"] == "Shop"
    spec = anna.get(f"/api/jobs/{jobs[0]['id']}").json()["spec"]
    assert spec["chosen"] == {"adapter.rank": 4, "training.betas": [0.8, 0.9]}
    assert (spec["preset"], spec["kind"], spec["seed"]) == ("quick", "role", 7)
    # a step back, another wish from the same page: another job, not a refusal
    other = anna.post(f"/data/{dataset_id}/train", data=form | {"preset": "thorough"}, follow_redirects=False)
    assert other.status_code == 303
    assert len(anna.get("/api/jobs").json()["jobs"]) == 2
    # what they hold is not free any more, nor left to spend
    seen = text_of(anna.get(settings_path(dataset_id)).text)
    assert "0 of 10" in seen
    owed = anna.get("/api/balance").json()["owed_micro"]
    assert owed > 0 and money(owed, "CNY") in seen
    for job in anna.get("/api/jobs").json()["jobs"]:
        request_cancel(service, account_id, job["id"])


def test_an_older_version_of_the_data_is_never_trained_by_surprise(anna: TestClient, dataset_id: str) -> None:
    form = fields_of(anna.get(settings_path(dataset_id)).text)
    assert form["version"] == "1"
    reply = anna.post(f"/data/{dataset_id}/train", data=form | {"version": "7"}, follow_redirects=False)
    assert reply.status_code == 404 and "7" in text_of(reply.text)
    assert fields_of(reply.text)["version"] == "1"
    assert anna.get("/api/jobs").json()["jobs"] == []


def test_what_was_typed_outlasts_a_change_of_the_data_in_another_window(
    anna: TestClient, service: Service, dataset_id: str
) -> None:
    form = fields_of(anna.get(settings_path(dataset_id)).text) | {"set.adapter.rank": "4", "name": "My own"}

    def change(state: str) -> None:
        with service.database.writing() as session:
            session.get_one(Dataset, dataset_id).state = state

    change("validating")
    done = threading.Timer(0.5, change, ["ready"])
    done.start()
    reply = anna.post(f"/data/{dataset_id}/train", data=form | {"version": "7"}, follow_redirects=False)
    done.join()
    assert reply.status_code == 404
    again = fields_of(reply.text)
    assert (again["name"], again["set.adapter.rank"]) == ("My own", "4")


def test_what_keeps_it_from_starting_is_told_with_the_way_out(
    anna: TestClient, service: Service, account_id: str, dataset_id: str
) -> None:
    absent = anna.get(settings_path(dataset_id, base="Qwen/Qwen3-0.6B"))
    assert absent.status_code == 200
    assert "Qwen/Qwen3-0.6B is not on this machine yet." in text_of(absent.text)
    assert f'<a href="/data/{dataset_id}/base">' in absent.text and "button big" not in absent.text
    refused = anna.post(f"/data/{dataset_id}/train", data=fields_of(absent.text), follow_redirects=False)
    assert refused.status_code == 503 and "not on this machine yet" in text_of(refused.text)
    with service.database.writing() as session:
        session.get_one(Account, account_id).hold_reason = "unpaid bill"
        session.get_one(Account, account_id).monthly_cap_micro = 1
    held = anna.get(settings_path(dataset_id))
    assert "unpaid bill" in text_of(held.text) and 'href="/account/bill"' in held.text
    assert anna.post(f"/data/{dataset_id}/train", data=fields_of(held.text)).status_code == 403


def test_wrong_addresses_lead_on(anna: TestClient, dataset_id: str) -> None:
    assert anna.get(f"/data/{dataset_id}/train", follow_redirects=False).headers["location"].endswith("/base")
    without = anna.get(f"/data/{dataset_id}/settings", follow_redirects=False)
    assert (without.status_code, without.headers["location"]) == (303, f"/data/{dataset_id}/base")
    unknown = anna.get(settings_path(dataset_id, base="Qwen/Qwen9"))
    assert unknown.status_code == 404 and "Choose a base model" in unknown.text
    assert "There is no base" in text_of(unknown.text)
    preset = anna.get(settings_path(dataset_id, preset="slow"))
    assert preset.status_code == 422 and "quick, recommended, thorough" in text_of(preset.text)
    kind = anna.get(settings_path(dataset_id, kind="poems"))
    assert kind.status_code == 422 and fields_of(kind.text)["kind"] == "poems"


def test_time_that_is_not_known_is_said_to_be_unknown(anna: TestClient, service: Service, dataset_id: str) -> None:
    start_download(service, "Qwen/Qwen3-0.6B")
    with service.database.writing() as session:
        row = session.query(BaseModelEntry).one()
        row.name, row.state, row.facts, row.source = "our-model", "ready", {}, "folder"
        row.path = str(service.settings.data_dir)
    assert any(base.name == "our-model" for base in list_bases(service))
    page = anna.get(settings_path(dataset_id, base="our-model"))
    assert page.status_code == 200
    assert "time not known yet" in headline_in(page.text)
    assert "button big" in page.text


def test_where_nothing_is_charged_no_money_is_spoken_of(anna: TestClient, service: Service, dataset_id: str) -> None:
    change_prices(service, rate_micro=0)
    page = anna.get(settings_path(dataset_id)).text
    assert headline_in(page).endswith(", free")
    assert "Nothing is charged on this service." in text_of(page) and "Free rows left" not in page


def test_the_page_in_chinese(anna: TestClient, dataset_id: str) -> None:
    anna.patch("/api/account", json={"language": "zh"})
    page = anna.get(settings_path(dataset_id)).text
    assert re.fullmatch(
        r"知识问答，60 行（学习 48 行，留出 12 行）：学 \d+ 遍，约 [\d.-]+ (秒|分钟)，¥[\d.]+", headline_in(page)
    )
