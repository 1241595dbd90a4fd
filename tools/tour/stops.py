"""The pages, one after the other, with the address of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from postil.language import Language
from tools.tour.content import SHEETS
from tools.tour.furniture import Furniture

Who = Literal["", "owner", "newcomer", "admin"]


@dataclass(frozen=True)
class Stop:
    """One page.

    Args:
        name: of its pictures.
        path: with the query.
        who: whose session; "" is nobody's.
        status: what the page is answered with.
        is_pictured: False for pages that say little more than a sentence and a button.
    """

    name: str
    path: str
    who: Who = "owner"
    status: int = 200
    is_pictured: bool = True


def stops(furniture: Furniture, language: Language) -> Iterator[Stop]:
    """Every page in the order of the road, with what the account of `language` has."""
    own = furniture.homes[language]
    yield Stop("sign-in", "/sign-in", "")
    yield Stop("register", "/register", "")
    yield Stop("help", "/help", "", is_pictured=False)
    yield Stop("link", "/links/none", "", 404, is_pictured=False)
    yield Stop("models-empty", "/models", "newcomer")
    yield Stop("data-empty", "/data", "newcomer")
    yield Stop("jobs-empty", "/jobs", "newcomer")
    yield Stop("new", "/new")
    yield Stop("check", f"/data/{own.mistaken}")
    yield Stop("check-good", f"/data/{own.good}", is_pictured=False)
    yield Stop("check-talks", f"/data/{own.talks}")
    yield Stop("check-rows", f"/data/{own.mistaken}/rows")
    yield Stop("check-row", f"/data/{own.mistaken}/row?sheet={quote(SHEETS[language])}&row=2", is_pictured=False)
    yield Stop("base", f"/data/{own.good}/base")
    yield Stop("settings", f"/data/{own.good}/settings?base=starter&preset=recommended")
    yield Stop("watch-held", f"/jobs/{own.held}")
    yield Stop("watch-done", f"/jobs/{own.done}")
    yield Stop("watch-failed", f"/jobs/{own.failed}")
    yield Stop("watch-stop", f"/jobs/{own.held}/stop", is_pictured=False)
    yield Stop("watch-delete", f"/jobs/{own.done}/delete", is_pictured=False)
    yield Stop("watch-log", f"/jobs/{own.done}/log", is_pictured=False)
    yield Stop("result", f"/models/{own.adapter}")
    yield Stop("result-delete", f"/models/{own.adapter}/delete", is_pictured=False)
    yield Stop("try", f"/models/{own.adapter}/try")
    yield Stop("use", f"/models/{own.adapter}/use")
    yield Stop("models", "/models")
    yield Stop("data", "/data")
    yield Stop("jobs", "/jobs")
    yield Stop("account", "/account")
    yield Stop("account-keys", "/account/keys")
    yield Stop("account-bill", "/account/bill")
    yield Stop("account-bill-check", "/account/bill/check", is_pictured=False)
    yield Stop("account-delete", "/account/delete", is_pictured=False)
    yield Stop("not-found", "/models/none", "owner", 404)
    yield Stop("admin", "/admin", "admin")
    yield Stop("admin-accounts", "/admin/accounts", "admin")
    yield Stop("admin-account", f"/admin/accounts/{own.account}", "admin", is_pictured=False)
    yield Stop("admin-prices", "/admin/prices", "admin")
    yield Stop("admin-bases", "/admin/bases", "admin")
    yield Stop("admin-queue", "/admin/queue", "admin")
    yield Stop("admin-cancel", f"/admin/queue/{own.held}/cancel", "admin", is_pictured=False)


def session_for(furniture: Furniture, language: Language, who: Who) -> str:
    """What the cookie of that visitor says; "" for nobody."""
    sessions = {
        "": "",
        "owner": furniture.homes[language].session,
        "newcomer": furniture.newcomer,
        "admin": furniture.admin,
    }
    return sessions[who]
