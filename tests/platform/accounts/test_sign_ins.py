"""Sessions and one-time links: begun, found, ended; guessing is slow and tells nothing (T6, T7)."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select

from postil.errors import ConflictError, NotAllowedError, TooManyError, UsageError
from postil.platform.accounts import passwords
from postil.platform.accounts.accounts import AccountView, create_account, has_admin, set_disabled, set_role
from postil.platform.accounts.one_time_links import (
    LinkView,
    find_link,
    invite,
    make_first_admin_link,
    make_reset_link,
    use_link,
)
from postil.platform.accounts.sign_ins import change_password, find_session, sign_in, sign_out, sign_out_everywhere
from postil.platform.service import Service
from postil.platform.store.tables import Account, OneTimeLink, SignIn
from tests.platform.conftest import PASSWORD, Clock, NewService

NEW_PASSWORD = "a gate in the meadow"


@pytest.fixture
def ann(service: Service) -> AccountView:
    """An account beside an admin."""
    create_account(service, "root", PASSWORD, role="admin")
    return create_account(service, "ann", PASSWORD)


def test_a_session_is_found_until_it_is_ended(service: Service, ann: AccountView) -> None:
    here, there = sign_in(service, "ann", PASSWORD, "Firefox"), sign_in(service, "ann", PASSWORD)
    assert here.token != there.token and len(here.token) >= 43
    assert find_session(service, here.token) == here.account == ann
    sign_out(service, here.token)
    assert find_session(service, here.token) is None
    assert find_session(service, there.token) == ann
    sign_out_everywhere(service, ann.id)
    assert find_session(service, there.token) is None


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "' OR ''='", "\udcff", "令牌", "x" * 100_000])
def test_what_is_no_session_is_nobodys(service: Service, ann: AccountView, token: str) -> None:
    sign_in(service, "ann", PASSWORD)
    assert find_session(service, token) is None


def test_the_database_keeps_no_token(service: Service, ann: AccountView) -> None:
    token = sign_in(service, "ann", PASSWORD).token
    with service.database.reading() as session:
        row = session.scalars(select(SignIn)).one()
        values = [str(getattr(row, column.key)) for column in SignIn.__table__.columns]
        account = session.get_one(Account, ann.id)
    assert token not in " ".join(values)
    assert account.password_hash.startswith("$argon2id$")


def test_a_session_ends_after_two_weeks_without_use_and_after_thirty_days(
    service: Service, ann: AccountView, clock: Clock
) -> None:
    token = sign_in(service, "ann", PASSWORD).token
    clock.go(days=13)
    assert find_session(service, token) == ann
    clock.go(days=13)
    assert find_session(service, token) == ann
    clock.go(days=5)
    assert find_session(service, token) is None, "30 days have passed"

    token = sign_in(service, "ann", PASSWORD).token
    clock.go(days=14)
    assert find_session(service, token) is None, "nobody came for 14 days"


def test_a_clock_that_is_set_back_ends_no_session(service: Service, ann: AccountView, clock: Clock) -> None:
    token = sign_in(service, "ann", PASSWORD).token
    clock.go(days=-1)
    assert find_session(service, token) == ann
    clock.go(days=2)
    assert find_session(service, token) == ann


def test_signing_in_again_ends_the_browsers_older_session_and_those_that_have_run_out(
    service: Service, ann: AccountView, clock: Clock
) -> None:
    planted, elsewhere = sign_in(service, "ann", PASSWORD).token, sign_in(service, "ann", PASSWORD).token
    sign_in(service, "ann", PASSWORD, old_token=planted)
    assert find_session(service, planted) is None
    assert find_session(service, elsewhere) == ann
    clock.go(days=31)
    sign_in(service, "ann", PASSWORD)
    with service.database.reading() as session:
        assert len(session.scalars(select(SignIn)).all()) == 1


def test_a_new_password_another_role_or_a_disabled_account_end_every_session(
    service: Service, ann: AccountView
) -> None:
    def tokens() -> list[str]:
        return [sign_in(service, "ann", PASSWORD).token for _ in range(2)]

    old = tokens()
    new = change_password(service, ann.id, PASSWORD, NEW_PASSWORD)
    assert [find_session(service, token) for token in old] == [None, None]
    assert find_session(service, new.token) == ann
    with pytest.raises(NotAllowedError, match="name or the password"):
        sign_in(service, "ann", PASSWORD)
    change_password(service, ann.id, NEW_PASSWORD, PASSWORD)

    old = tokens()
    set_role(service, ann.id, "admin")
    assert [find_session(service, token) for token in old] == [None, None]

    old = tokens()
    set_disabled(service, ann.id, True)
    assert [find_session(service, token) for token in old] == [None, None]
    with pytest.raises(NotAllowedError, match="disabled"):
        sign_in(service, "ann", PASSWORD)
    set_disabled(service, ann.id, False)
    assert [find_session(service, token) for token in old] == [None, None]
    assert sign_in(service, "ann", PASSWORD).account.is_admin


def test_the_old_password_is_asked_for(service: Service, ann: AccountView) -> None:
    token = sign_in(service, "ann", PASSWORD).token
    with pytest.raises(NotAllowedError, match="old password"):
        change_password(service, ann.id, "something else 7", NEW_PASSWORD)
    with pytest.raises(UsageError, match="too short"):
        change_password(service, ann.id, PASSWORD, "short")
    assert find_session(service, token) == ann


def test_guesses_are_stopped_after_five_and_told_when_to_come_back(
    service: Service, ann: AccountView, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    real = passwords._hasher.verify_and_update
    monkeypatch.setattr(
        passwords._hasher, "verify_and_update", lambda *given: looked_at.append(given[0]) or real(*given)
    )
    for number in range(5):
        with pytest.raises(NotAllowedError):
            sign_in(service, "ann", f"guess number {number}", address="192.0.2.1")
    for spelled in ("ann", "ANN", " ann "):
        with pytest.raises(TooManyError, match="Wait") as caught:
            sign_in(service, spelled, PASSWORD, address="192.0.2.1")
        assert 0 < caught.value.retry_after_seconds <= 60
    assert len(looked_at) == 5, "the rate is looked at before the password"
    sign_in(service, "ann", PASSWORD, address="192.0.2.2")


def test_the_right_password_empties_the_count(service: Service, ann: AccountView) -> None:
    for _ in range(3):
        with pytest.raises(NotAllowedError):
            sign_in(service, "ann", "not the password")
        sign_in(service, "ann", PASSWORD)


def test_names_tried_one_after_the_other_are_stopped_too(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.platform.accounts.sign_ins.verify_password", lambda password, kept: (False, None))
    for number in range(60):
        with pytest.raises(NotAllowedError):
            sign_in(service, f"name{number}", PASSWORD, address="192.0.2.1")
    with pytest.raises(TooManyError):
        sign_in(service, "name60", PASSWORD, address="192.0.2.1")


def test_a_wrong_name_and_a_wrong_password_look_alike(real_passwords: None, service: Service, ann: AccountView) -> None:
    def answer(name: str, address: str) -> tuple[str, float]:
        began = time.perf_counter()
        with pytest.raises(NotAllowedError) as caught:
            sign_in(service, name, "not the password", address=address)
        return str(caught.value), time.perf_counter() - began

    answer("nobody", "warm-up")
    known = [answer("ann", str(n)) for n in range(3)]
    unknown = [answer("nobody", str(n)) for n in range(3)]
    assert {said for said, _ in known} == {said for said, _ in unknown}
    ratio = statistics.median(s for _, s in unknown) / statistics.median(s for _, s in known)
    assert 0.5 < ratio < 2, "without a hash to compute, a wrong name would be answered a hundred times sooner"


def test_two_passwords_at_a_time_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def slow(password: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return "-"

    monkeypatch.setattr(passwords._hasher, "hash", slow)
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(passwords.hash_password, ["x"] * 20)) == ["-"] * 20
    assert most == 2
    monkeypatch.setattr(passwords, "MAX_WAIT_SECONDS", 0.01)
    with passwords._place(), passwords._place(), pytest.raises(TooManyError, match="signing in"):
        passwords.hash_password("x")


def test_a_hash_made_with_weaker_settings_is_renewed_by_signing_in(
    real_passwords: None, service: Service, ann: AccountView
) -> None:
    weak = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),)).hash(PASSWORD)
    with service.database.writing() as session:
        session.get_one(Account, ann.id).password_hash = weak
    sign_in(service, "ann", PASSWORD)
    with service.database.reading() as session:
        assert "m=65536" in session.get_one(Account, ann.id).password_hash
    sign_in(service, "ann", PASSWORD)


def test_a_reset_link_works_once_and_ends_sessions(service: Service, ann: AccountView, clock: Clock) -> None:
    old = sign_in(service, "ann", PASSWORD).token
    first, link = make_reset_link(service, ann.id), make_reset_link(service, ann.id)
    assert (find_link(service, first), find_link(service, link)) == (None, LinkView("ann"))
    with pytest.raises(UsageError, match="too short"):
        use_link(service, link, "short")
    new = use_link(service, link, NEW_PASSWORD)
    assert (new.account, find_session(service, new.token), find_session(service, old)) == (ann, ann, None)
    for used in (link, first, "x", ""):
        with pytest.raises(NotAllowedError, match="does not work"):
            use_link(service, used, PASSWORD)
    assert sign_in(service, "ann", NEW_PASSWORD).account == ann
    late = make_reset_link(service, ann.id)
    clock.go(days=3)
    assert find_link(service, late) is None


def test_who_is_invited_chooses_the_password(new_service: NewService, ann: AccountView) -> None:
    closed = new_service(is_sign_up_open=False)
    account, token = invite(closed, "carla@example.com")
    assert (account.role, account.name, find_link(closed, token)) == (
        "user",
        "carla@example.com",
        LinkView(account.name),
    )
    signed_in = use_link(closed, token, NEW_PASSWORD)
    assert signed_in.account == account == sign_in(closed, "Carla@example.com", NEW_PASSWORD).account
    with pytest.raises(ConflictError):
        invite(closed, "ANN")
    with pytest.raises(UsageError):
        invite(closed, "no name!")


def test_of_two_who_use_a_link_at_once_one_succeeds(service: Service, ann: AccountView) -> None:
    link = make_reset_link(service, ann.id)

    def use(password: str) -> str:
        try:
            return use_link(service, link, password) and password
        except NotAllowedError:
            return ""

    with ThreadPoolExecutor(2) as pool:
        won = [password for password in pool.map(use, [PASSWORD + "1", PASSWORD + "2"]) if password]
    assert len(won) == 1
    assert sign_in(service, "ann", won[0]).account == ann


def test_a_link_is_no_way_around_a_disabled_account(service: Service, ann: AccountView) -> None:
    link = make_reset_link(service, ann.id)
    set_disabled(service, ann.id, True)
    with pytest.raises(NotAllowedError, match="disabled"):
        use_link(service, link, NEW_PASSWORD)


def test_the_first_admin_comes_by_a_link_and_there_is_one(service: Service) -> None:
    older, link = make_first_admin_link(service), make_first_admin_link(service)
    assert older and link and find_link(service, link) == LinkView(None)
    with pytest.raises(NotAllowedError):
        use_link(service, older, PASSWORD, "root")
    with pytest.raises(UsageError, match="user name"):
        use_link(service, link, PASSWORD)
    signed_in = use_link(service, link, PASSWORD, "root")
    assert signed_in.account.is_admin and has_admin(service)
    assert make_first_admin_link(service) is None
    with service.database.writing() as session:  # as if a link of before were still open
        session.execute(select(OneTimeLink)).scalar_one().used_at = None
    with pytest.raises(ConflictError, match="has an admin"):
        use_link(service, link, PASSWORD, "second")


def test_links_are_not_guessed(service: Service) -> None:
    for number in range(10):
        with pytest.raises(NotAllowedError):
            use_link(service, f"guess{number}", PASSWORD, address="192.0.2.1")
    with pytest.raises(TooManyError):
        use_link(service, "guess", PASSWORD, address="192.0.2.1")
