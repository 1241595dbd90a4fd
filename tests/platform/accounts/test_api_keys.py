"""Keys: shown once, found by their text, ended by their owner, their account or their time."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from postil.errors import ConflictError, MissingInputError, TooManyError, UsageError
from postil.platform.accounts.accounts import AccountView, create_account, set_disabled, set_role
from postil.platform.accounts.api_keys import MAX_KEYS, find_key, list_keys, make_key, revoke_key
from postil.platform.service import Service
from postil.platform.store.tables import ApiKey
from tests.platform.conftest import PASSWORD, Clock


@pytest.fixture
def ann(service: Service) -> AccountView:
    """An account."""
    return create_account(service, "ann", PASSWORD)


def test_a_key_is_shown_once_and_says_who_holds_it(service: Service, ann: AccountView) -> None:
    view, text = make_key(service, ann.id, " shop window ", ["chat", "read"])
    assert text.startswith(f"{view.start}_") and view.start.startswith("pk_") and len(text) == 63
    assert (view.name, view.scopes, view.used_at) == ("shop window", ("read", "chat"), None)
    holder = find_key(service, text)
    assert holder is not None
    assert (holder.account, holder.scopes, holder.key_id) == (ann, {"read", "chat"}, view.id)
    with service.database.reading() as session:
        row = session.scalars(select(ApiKey)).one()
        kept = " ".join(str(getattr(row, column.key)) for column in ApiKey.__table__.columns)
    assert text.rpartition("_")[2] not in kept


def test_a_use_is_noted(service: Service, ann: AccountView, clock: Clock) -> None:
    _, text = make_key(service, ann.id, "k", ["read"])
    first = clock()
    find_key(service, text)
    clock.go(minutes=1)
    find_key(service, text)
    assert list_keys(service, ann.id)[0].used_at == first, "not every use is worth a write"
    clock.go(minutes=5)
    find_key(service, text)
    assert list_keys(service, ann.id)[0].used_at == clock()


def test_what_is_no_key_is_nobodys(service: Service, ann: AccountView) -> None:
    _, text = make_key(service, ann.id, "k", ["read"])
    other = "A" if text[-1] != "A" else "B"
    for number, wrong in enumerate(["", "pk_", text[:-1] + other, text + "A", text.upper(), f" {text}", "pk_' OR 1_x"]):
        assert find_key(service, wrong, address=str(number)) is None


def test_a_key_ends_by_its_owner_its_account_or_its_time(service: Service, ann: AccountView, clock: Clock) -> None:
    bob = create_account(service, "bob", PASSWORD)
    view, text = make_key(service, ann.id, "k", ["train"], clock() + timedelta(days=2))
    with pytest.raises(MissingInputError):
        revoke_key(service, bob.id, view.id)
    assert find_key(service, text) is not None
    set_disabled(service, ann.id, True)
    assert find_key(service, text) is None
    set_disabled(service, ann.id, False)
    assert find_key(service, text) is not None
    clock.go(days=2)
    assert find_key(service, text) is None
    clock.go(days=-1)
    ended = revoke_key(service, ann.id, view.id)
    clock.go(hours=1)
    assert revoke_key(service, ann.id, view.id) == ended
    assert find_key(service, text) is None
    assert list_keys(service, ann.id) == [ended] and list_keys(service, bob.id) == []


def test_a_key_follows_its_accounts_role(service: Service, ann: AccountView) -> None:
    _, text = make_key(service, ann.id, "k", ["read"])
    set_role(service, ann.id, "admin")
    holder = find_key(service, text)
    assert holder is not None and holder.account.is_admin


def test_wrong_orders_of_keys_are_refused(service: Service, ann: AccountView, clock: Clock) -> None:
    for scopes in ([], ["admin"], ["read", "write"]):
        with pytest.raises(UsageError, match="scopes"):
            make_key(service, ann.id, "k", scopes)
    for name in ("", "  ", "x" * 101):
        with pytest.raises(UsageError, match="name"):
            make_key(service, ann.id, name, ["read"])
    with pytest.raises(UsageError, match="past"):
        make_key(service, ann.id, "k", ["read"], clock())
    with pytest.raises(MissingInputError):
        make_key(service, "acc_aaaaaaaaaaaaaaaa", "k", ["read"])
    for _ in range(MAX_KEYS):
        view, _ = make_key(service, ann.id, "k", ["read"])
    with pytest.raises(ConflictError, match=str(MAX_KEYS)):
        make_key(service, ann.id, "k", ["read"])
    revoke_key(service, ann.id, view.id)
    make_key(service, ann.id, "k", ["read"])


def test_keys_are_not_guessed(service: Service, ann: AccountView) -> None:
    _, text = make_key(service, ann.id, "k", ["read"])
    for _ in range(20):
        assert find_key(service, "pk_guess", address="192.0.2.1") is None
    with pytest.raises(TooManyError):
        find_key(service, text, address="192.0.2.1")
    assert find_key(service, text, address="192.0.2.2") is not None
