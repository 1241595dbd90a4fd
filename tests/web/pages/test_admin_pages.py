"""Administration: the first admin, health, accounts that are made and limited, prices, bases, tokens, the queue."""

import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from postil.models.base_folder import STARTER
from postil.platform.accounts.accounts import get_account, get_account_by_name
from postil.platform.accounts.one_time_links import make_first_admin_link
from postil.platform.bases.bases import get_base, list_bases
from postil.platform.money.prices import get_prices
from postil.platform.service import Service
from postil.platform.store.hub_tokens import find_hub_token
from postil.platform.store.tables import BaseModelEntry, Machine
from tests.platform.rows import add_account
from tests.platform.trained import add_job
from tests.web.conftest import PASSWORD, NewClient
from tests.web.pages.page_fields import codes_of, fields_of
from tests.web.pages.reading import account_of, text_of

PAGES = ("/admin", "/admin/accounts", "/admin/prices", "/admin/bases", "/admin/queue", "/admin/queue/rows")
MODEL = "acme/tiny-1B"
CANARY = "hf_canaryCANARYcanary88"


@pytest.fixture
def root(new_client: NewClient) -> TestClient:
    """An admin."""
    return new_client("root.of.it", role="admin")


def test_the_link_of_the_first_start_leads_to_a_signed_in_admin(anonymous: TestClient, service: Service) -> None:
    token = make_first_admin_link(service)
    page = anonymous.get(f"/links/{token}")
    assert page.status_code == 200 and fields_of(page.text)["name"] == ""
    refused = anonymous.post(f"/links/{token}", data={"name": "root.of.it", "new_password": "short"})
    assert refused.status_code == 422 and fields_of(refused.text)["name"] == "root.of.it"
    done = anonymous.post(f"/links/{token}", data={"name": "root.of.it", "new_password": PASSWORD})
    assert done.status_code in (200, 404) and done.url.path == "/models"
    overview = anonymous.get("/admin")
    assert overview.status_code == 200 and "root.of.it" in overview.text
    assert get_account_by_name(service, "root.of.it").is_admin
    again = anonymous.post(f"/links/{token}", data={"name": "second", "new_password": PASSWORD})
    assert again.status_code == 401 and "new_password" not in again.text
    for dead in (token, "none"):
        looked = anonymous.get(f"/links/{dead}")
        assert looked.status_code == 404 and "does not work" in text_of(looked.text)
        assert "new_password" not in looked.text


def test_users_see_no_administration(anna: TestClient) -> None:
    for path in PAGES:
        reply = anna.get(path)
        assert reply.status_code == 403 and "Only an admin" in text_of(reply.text), path


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_there_in_both_languages(root: TestClient, language: str) -> None:
    for path in PAGES:
        reply = root.get(path, headers={"accept-language": language})
        assert reply.status_code == 200, (path, reply.text[:300])
        assert ("管理" in reply.text) == (language == "zh") or path.endswith("rows")


def test_the_overview_says_what_is_wrong_and_what_to_do(root: TestClient, service: Service) -> None:
    words = text_of(root.get("/admin").text)
    assert "not seen yet: nothing trains" in words and "No process answers questions" in words
    assert "postil web starts it" in words and "GB free" in words
    assert "Anybody who reaches the service" in words
    (service.settings.data_dir / "postil.db").chmod(0o644)
    page = root.get("/admin").text
    assert "chmod go-rwx" in page
    # what keeps it from working comes first
    assert page.index("chmod go-rwx") < page.index("postil web starts it")
    with service.database.writing() as session:
        session.add(Machine(key="supervisor", value={"slots": ["cpu:0"]}, updated_at=service.now()))
    words = text_of(root.get("/admin").text)
    assert "Supervisor at work" in words and "cpu:0" in words
    assert 'href="/metrics"' in page and root.get("/metrics").text.startswith("# TYPE")


def test_an_account_is_made_with_a_link_for_its_owner(root: TestClient, new_client: NewClient) -> None:
    wrong = root.post("/admin/accounts", data={"name": "no such name!"})
    assert wrong.status_code == 422 and fields_of(wrong.text)["name"] == "no such name!"
    made = root.post("/admin/accounts", data={"name": "carla"})
    link = codes_of(made.text)[0]
    assert made.status_code == 201 and re.fullmatch(r"http://127\.0\.0\.1:8321/links/[\w-]{43}", link)
    assert link not in root.get("/admin/accounts").text
    taken = root.post("/admin/accounts", data={"name": "Carla"})
    assert taken.status_code == 409 and 'role="alert"' in taken.text
    carla = new_client()
    asked = carla.get(link).text
    assert "For the account carla" in text_of(asked) and "name" not in fields_of(asked)
    done = carla.post(link, data={"new_password": PASSWORD})
    assert done.url.path == "/models"
    assert carla.get("/api/account").json()["role"] == "user"


def test_the_same_over_rest(root: TestClient, anna: TestClient, new_client: NewClient) -> None:
    assert anna.post("/api/admin/accounts", json={"name": "carla"}).status_code == 403
    made = root.post("/api/admin/accounts", json={"name": "carla"})
    assert made.status_code == 201 and made.json()["account"]["role"] == "user"
    body = {"token": made.json()["token"], "new_password": PASSWORD}
    assert new_client().post("/api/links", json=body).json()["account"]["name"] == "carla"
    assert [a["name"] for a in root.get("/api/admin/accounts?search=ARL").json()["accounts"]] == ["carla"]


def test_where_sign_up_is_closed_an_admin_still_makes_accounts(
    app: FastAPI, root: TestClient, service: Service, new_client: NewClient
) -> None:
    closed = service.settings.model_copy(update={"is_sign_up_open": False})
    object.__setattr__(service, "settings", closed)
    assert "by administrators only" in text_of(root.get("/admin").text)
    assert "Registration is closed" in text_of(root.get("/admin/accounts").text)
    assert new_client().post("/register", data={"name": "x.y", "password": PASSWORD}).status_code == 403
    assert root.post("/admin/accounts", data={"name": "carla"}).status_code == 201


def test_accounts_are_found_and_turned_over(root: TestClient, service: Service) -> None:
    for number in range(60):
        add_account(service, f"user{number:02}")
    first = root.get("/admin/accounts").text
    assert "root.of.it" in first and "user48" in first and "user49" not in first
    following = fields_of(first)
    second = root.get("/admin/accounts", params={"after": following["after"]}).text
    assert "user49" in second and "user59" in second and "user47" not in second and 'name="after"' not in second
    found = root.get("/admin/accounts", params={"search": "USER1"}).text
    assert "user15" in found and "user20" not in found and fields_of(found)["search"] == "USER1"
    assert "No account has this name" in root.get("/admin/accounts", params={"search": "100%_"}).text


def test_rights_of_an_account(root: TestClient, anna: TestClient, service: Service) -> None:
    page = f"/admin/accounts/{account_of(anna)}"
    account_id = account_of(anna)
    shut = root.post(f"{page}/disable")
    assert "is shut out" in text_of(shut.text) and get_account(service, account_id).disabled_at is not None
    assert anna.get("/account", follow_redirects=False).status_code == 303
    assert "may come in again" in text_of(root.post(f"{page}/enable").text)
    assert "role is changed" in text_of(root.post(f"{page}/role", data={"role": "admin"}).text)
    assert get_account(service, account_id).is_admin
    assert root.post(f"{page}/role", data={"role": "king"}).status_code == 422
    root.post(f"{page}/role", data={"role": "user"})
    own = f"/admin/accounts/{account_of(root)}"
    for verb, form in (("role", {"role": "user"}), ("disable", {})):
        reply = root.post(f"{own}/{verb}", data=form)
        assert reply.status_code == 409 and 'role="alert"' in reply.text
    missing = root.get("/admin/accounts/acc_" + "x" * 16)
    assert missing.status_code == 404 and "/api/" not in missing.text


def test_a_lost_password_gets_a_link_once(root: TestClient, anna: TestClient, new_client: NewClient) -> None:
    page = f"/admin/accounts/{account_of(anna)}"
    links = [codes_of(root.post(f"{page}/reset-link").text)[0] for _ in range(2)]
    assert links[0] != links[1] and links[1] not in root.get(page).text
    client = new_client()
    form = {"new_password": "another horse battery"}
    assert client.post(links[0], data=form).status_code == 401
    assert client.post(links[1], data=form).url.path == "/models"
    assert anna.get("/account", follow_redirects=False).status_code == 303


def test_limits_of_an_account(root: TestClient, anna: TestClient, service: Service) -> None:
    page = f"/admin/accounts/{account_of(anna)}"
    assert "as for everybody (no limit)" in text_of(root.get(page).text)
    wrong = {"monthly_cap": "much", "job_cap": "-1", "balance_limit": "1.0000001", "hold_reason": "x" * 256}
    reply = root.post(f"{page}/limits", data=wrong)
    assert reply.status_code == 422 and reply.text.count('aria-invalid="true"') == 4
    assert wrong.items() <= fields_of(reply.text).items()
    right = {"monthly_cap": "1,200.50", "job_cap": "", "balance_limit": "0", "hold_reason": "unpaid <b>"}
    saved = root.post(f"{page}/limits", data=right)
    assert "limits are saved" in text_of(saved.text) and "unpaid &lt;b&gt;" in saved.text
    account = get_account(service, account_of(anna))
    assert (account.monthly_cap_micro, account.job_cap_micro, account.balance_limit_micro) == (1_200_500_000, None, 0)
    assert fields_of(saved.text)["monthly_cap"] == "1200.5"
    assert "may not start: unpaid <b>" in text_of(anna.get("/account").text)


def test_prices_are_changed_or_nothing_is(root: TestClient, service: Service) -> None:
    page = root.get("/admin/prices").text
    kept = {name: text for name, text in fields_of(page).items() if name != "next"}  # which is the language's form
    assert (kept["rate"], kept["free_rows"], kept["reserve_percent"], kept["job_cap"]) == ("0.03", "1000", "20", "")
    # 500 of 1500 rows are paid: 500 x 80 x 3 tokens at 0.03 for 1000
    assert "CN¥3.60" in text_of(page)
    before = get_prices(service)
    wrong = kept | {"rate": "", "free_rows": "1.5", "reserve_percent": "901", "job_cap": "1e3"}
    reply = root.post("/admin/prices", data=wrong)
    assert reply.status_code == 422 and reply.text.count('aria-invalid="true"') == 4
    assert wrong.items() <= fields_of(reply.text).items() and get_prices(service) == before
    right = kept | {"rate": "0.000001", "currency": "EUR", "reserve_percent": "12.5", "account_cap": "99.99"}
    saved = root.post("/admin/prices", data=right)
    assert "Saved" in text_of(saved.text) and right.items() <= fields_of(saved.text).items()
    now = get_prices(service)
    assert (now.rate_micro, now.currency, now.reserve_factor) == (1, "EUR", 1.125)
    assert (now.account_cap_micro, now.job_cap_micro) == (99_990_000, None)


def test_bases_of_a_hub_come_and_go(root: TestClient, service: Service) -> None:
    assert "Qwen/Qwen3-0.6B" in root.get("/admin/bases").text
    typed = {"name": "https://evil.example/x", "hub": "modelscope", "revision": "v1"}
    wrong = root.post("/admin/bases/hub", data=typed)
    assert wrong.status_code == 422 and fields_of(wrong.text)["revision"] == "v1"
    assert 'value="https://evil.example/x"' in wrong.text and 'value="modelscope" selected' in wrong.text
    added = root.post("/admin/bases/hub", data={"name": MODEL, "hub": "modelscope", "revision": ""})
    assert added.status_code == 200 and MODEL in added.text
    view = get_base(service, MODEL)
    assert (view.source, view.revision, view.state) == ("modelscope", None, "absent")
    root.post("/admin/bases/forbid", data={"name": MODEL})
    assert MODEL not in [base.name for base in list_bases(service)]
    assert "taken off the list" in root.get("/admin/bases").text
    root.post("/admin/bases/allow", data={"name": MODEL})
    assert get_base(service, MODEL).source == "modelscope"
    stays = root.post("/admin/bases/forbid", data={"name": "starter"})
    assert stays.status_code == 409 and 'role="alert"' in stays.text
    assert root.post("/admin/bases/fetch", data={"name": "acme/unknown"}).status_code == 404


def test_a_download_shows_how_far_it_is(root: TestClient, service: Service) -> None:
    assert "hx-get" not in root.get("/admin/bases").text
    assert root.get("/admin/bases/rows").status_code == 286
    root.post("/admin/bases/hub", data={"name": MODEL, "hub": "hf"})
    page = root.post("/admin/bases/fetch", data={"name": MODEL, "hub": "modelscope"}).text
    assert get_base(service, MODEL).source == "modelscope"
    assert "waits for its download" in page and 'hx-get="/admin/bases/rows"' in page and "data-poll" in page
    with service.database.writing() as session:
        row = session.query(BaseModelEntry).filter_by(name=MODEL).one()
        row.state, row.num_bytes, row.done_bytes = "downloading", 4_000_000_000, 1_000_000_000
    part = root.get("/admin/bases/rows")
    assert part.status_code == 200 and "<html" not in part.text
    assert "25% · 1 GB of 4 GB" in text_of(part.text) and 'value="1000000000"' in part.text
    same = root.get("/admin/bases/rows", headers={"if-none-match": part.headers["etag"]})
    assert same.status_code == 304
    with service.database.writing() as session:
        row = session.query(BaseModelEntry).filter_by(name=MODEL).one()
        row.state = "failed"
        row.error = {"key": "models.gated", "values": {"model": MODEL, "endpoint": "x"}}
    last = root.get("/admin/bases/rows")
    assert last.status_code == 286 and "Try again" in last.text and "HF_TOKEN" in last.text


def test_a_folder_is_checked_before_it_is_allowed(root: TestClient, service: Service, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, status in (("relative/x", 422), (str(tmp_path / "none"), 404), (str(empty), 404)):
        reply = root.post("/admin/bases/folder", data={"folder": folder, "name": "shop base"})
        assert reply.status_code == status and 'role="alert"' in reply.text, folder
        assert f'value="{folder}"' in reply.text and 'value="shop base"' in reply.text
    copy = tmp_path / "base"
    shutil.copytree(STARTER, copy)
    reply = root.post("/admin/bases/folder", data={"folder": str(copy), "name": "shop base"})
    assert reply.status_code == 200 and str(copy) in reply.text and get_base(service, "shop base").state == "ready"
    root.post("/admin/bases/forbid", data={"name": "shop base"})
    root.post("/admin/bases/allow", data={"name": "shop base"})
    assert get_base(service, "shop base").path == str(copy)
    root.post("/admin/bases/forbid", data={"name": "shop base"})
    shutil.rmtree(copy)
    gone = root.post("/admin/bases/allow", data={"name": "shop base"})
    assert gone.status_code == 404 and str(copy) in unescape(gone.text)


def test_tokens_of_hubs_are_kept_and_never_shown(root: TestClient, service: Service) -> None:
    assert "none kept" in text_of(root.get("/admin/bases").text)
    kept = root.post("/admin/bases/token", data={"hub": "hf", "token": CANARY})
    assert find_hub_token(service, "hf") == CANARY and "kept since" in text_of(kept.text)
    for form in ({"hub": "hf", "token": f"{CANARY} x"}, {"hub": "nowhere", "token": CANARY}, {"hub": "hf"}):
        reply = root.post("/admin/bases/token", data=form)
        assert reply.status_code == 422 and CANARY not in reply.text
    assert find_hub_token(service, "hf") == CANARY
    gone = root.post("/admin/bases/token", data={"hub": "hf", "token": "", "forget": "1"})
    assert find_hub_token(service, "hf") is None and CANARY not in gone.text + kept.text


def test_the_queue_shows_everybody_s_trainings_without_what_they_are_about(
    root: TestClient, anna: TestClient, service: Service
) -> None:
    assert "Nothing waits" in text_of(root.get("/admin/queue").text)
    account = account_of(anna)
    running = add_job(service, account, name="secret shop", state="running", slot="cpu:0", progress={"percent": 41.7})
    waiting = add_job(service, account, name="secret hotel")
    page = root.get("/admin/queue").text
    words = text_of(page)
    assert "anna trains starter cpu:0 42%" in words and "anna waits starter waits" in words
    assert "secret" not in page and page.index(running) < page.index(waiting)
    asked = root.get(f"/admin/queue/{waiting}/cancel").text
    assert "cannot go on" in text_of(asked) and "secret" not in asked
    left = root.post(f"/admin/queue/{waiting}/cancel")
    assert left.url.path == "/admin/queue" and waiting not in left.text
    assert "is stopping" in text_of(root.post(f"/admin/queue/{running}/cancel").text)
    assert root.get(f"/admin/queue/{waiting}/cancel").status_code == 404
    rows = root.get("/admin/queue/rows")
    assert rows.status_code == 200 and "<html" not in rows.text and running in rows.text
    assert root.get("/admin/queue/rows", headers={"if-none-match": rows.headers["etag"]}).status_code == 304


def test_what_is_not_here_is_said_in_a_page_s_words(anna: TestClient) -> None:
    for path in ("/nothing/of/the/kind", "/admin2", "/account/nothing"):
        reply = anna.get(path)
        assert reply.status_code == 404 and "There is no such page" in reply.text and "/api/" not in reply.text
    for path, method, status in (("/account/bill", "POST", 405), ("/account/bill?month=x", "GET", 422)):
        reply = anna.request(method, path)
        assert reply.status_code == status and "openapi" not in reply.text
    assert "没有这个页面" in anna.get("/nothing", headers={"accept-language": "zh"}).text
    assert "openapi.json" in anna.get("/api/nothing").text
