"""Accounts: names, passwords, roles, the last admin."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from postil.errors import ConflictError, MissingInputError, NotAllowedError, PostilError, TooManyError, UsageError
from postil.platform.accounts.accounts import (
    create_account,
    find_account,
    get_account,
    get_account_by_name,
    has_admin,
    list_accounts,
    register,
    set_disabled,
    set_language,
    set_role,
)
from postil.platform.accounts.sign_ins import sign_in
from postil.platform.service import Service
from tests.platform.conftest import PASSWORD, NewService


def test_a_name_is_one_however_it_is_typed(service: Service) -> None:
    ann = register(service, " Ann@Example.com ", PASSWORD, language="zh")
    assert (ann.name, ann.role, ann.language) == ("Ann@Example.com", "user", "zh")
    for spelled in ("ann@example.com", "ＡＮＮ@example.com"):
        with pytest.raises(ConflictError, match="is taken"):
            register(service, spelled, PASSWORD)
        assert find_account(service, spelled) == ann
    assert sign_in(service, "ANN@EXAMPLE.COM", PASSWORD).account == ann
    assert find_account(service, "bob") is None
    with pytest.raises(MissingInputError, match="named bob"):
        get_account_by_name(service, "bob")


@pytest.mark.parametrize(
    "name", ["小明的店", "shop_7", "a.b-c", "o'neil@shop.example", "张三@例子.中国", "root@localhost"]
)
def test_names_of_all_languages_are_taken(service: Service, name: str) -> None:
    account = register(service, name, PASSWORD)
    assert get_account(service, account.id).name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a b c",
        "../../etc",
        "x" * 65,
        f"{'x' * 250}@a.example",
        "a\nb.c",
        "<b>bold</b>",
        "a\x00bc",
        "@shop",
        "-ab-",
    ],
)
def test_other_names_are_refused(service: Service, name: str) -> None:
    with pytest.raises(UsageError, match="user name"):
        register(service, name, PASSWORD)
    assert list_accounts(service) == []


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "too short"),
        ("123456789", "too short"),
        ("1234567890", "first that anybody"),
        ("QwertyUIOP", "first that anybody"),
        ("aaaaaaaaaaaa", "first that anybody"),
        ("ann.example1", "first that anybody"),
        ("x1" * 600, "longer than"),
    ],
)
def test_passwords_that_are_guessed_first_are_refused(service: Service, password: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        register(service, "ann.example", password)
    assert find_account(service, "ann.example") is None


def test_closed_sign_up_still_leaves_the_shell_and_admins(new_service: NewService) -> None:
    service = new_service(is_sign_up_open=False)
    with pytest.raises(NotAllowedError, match="no new accounts"):
        register(service, "ann", PASSWORD)
    assert create_account(service, "ann", PASSWORD, role="admin").is_admin
    assert has_admin(service)


def test_many_sign_ups_from_one_address_are_slowed(service: Service) -> None:
    for number in range(20):
        register(service, f"user{number}", PASSWORD, address="192.0.2.1")
    with pytest.raises(TooManyError) as caught:
        register(service, "user20", PASSWORD, address="192.0.2.1")
    assert 0 < caught.value.retry_after_seconds <= 3600
    register(service, "user20", PASSWORD, address="192.0.2.2")


def test_of_many_who_want_one_name_at_once_one_gets_it(service: Service) -> None:
    def try_it(number: int) -> str:
        try:
            return create_account(service, "ann", PASSWORD).id
        except ConflictError:
            return "taken"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(try_it, range(8)))
    assert results.count("taken") == 7
    assert [account.id for account in list_accounts(service)] == [r for r in results if r != "taken"]


def test_accounts_come_in_pages_by_name(service: Service) -> None:
    for name in ("dora", "bob", "Anna", "carl"):
        create_account(service, name, PASSWORD)
    first = list_accounts(service, limit=2)
    assert [a.name for a in first] == ["Anna", "bob"]
    assert [a.name for a in list_accounts(service, limit=5, after=first[-1].name)] == ["carl", "dora"]


def test_accounts_are_found_by_a_part_of_their_names(service: Service) -> None:
    for name in ("dora", "Dora.Li@example.com", "100percent", "刘老师"):
        create_account(service, name, PASSWORD)
    found = {text: [a.name for a in list_accounts(service, search=text)] for text in ("DORA", "老师", "%", "_", " ")}
    assert found["DORA"] == ["dora", "Dora.Li@example.com"] and found["老师"] == ["刘老师"]
    assert found["%"] == found["_"] == [] and len(found[" "]) == 4
    assert [a.name for a in list_accounts(service, search="dora", after="dora")] == ["Dora.Li@example.com"]


def test_the_last_admin_stays(service: Service) -> None:
    ann = create_account(service, "ann", PASSWORD, role="admin")
    bob = create_account(service, "bob", PASSWORD)
    for change in (lambda: set_role(service, ann.id, "user"), lambda: set_disabled(service, ann.id, True)):
        with pytest.raises(ConflictError, match="last admin"):
            change()
    assert set_role(service, bob.id, "admin").is_admin
    assert not set_role(service, ann.id, "user").is_admin


def test_two_admins_who_demote_each_other_at_once_do_not_both_succeed(service: Service) -> None:
    both = [create_account(service, name, PASSWORD, role="admin") for name in ("ann", "bob")]

    def demote(account_id: str) -> bool:
        try:
            return not set_role(service, account_id, "user").is_admin
        except PostilError:
            return False

    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(demote, [account.id for account in both])) == 1
        assert has_admin(service)
        for account in both:
            set_role(service, account.id, "admin")


def test_languages_and_roles_are_checked(service: Service) -> None:
    ann = create_account(service, "ann", PASSWORD)
    assert set_language(service, ann.id, "zh").language == "zh"
    assert set_language(service, ann.id, None).language is None
    with pytest.raises(UsageError, match="no language fr"):
        set_language(service, ann.id, "fr")
    with pytest.raises(UsageError, match="no role root"):
        set_role(service, ann.id, "root")  # type: ignore[arg-type]
    for missing in ("acc_aaaaaaaaaaaaaaaa", "", "' OR 1=1 --", "acc_" + "x" * 5000):
        with pytest.raises(MissingInputError):
            get_account(service, missing)
