"""The pages, one after the other, with the address of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from postil.language import Language
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
    """

    name: str
    path: str
    who: Who = "owner"
    status: int = 200


def stops(furniture: Furniture, language: Language) -> Iterator[Stop]:
    """Every page in the order of the road, with what the account of `language` has."""
    own = furniture.homes[language]
    yield Stop("sign-in", "/sign-in", "")
    yield Stop("register", "/register", "")
    yield Stop("link", "/links/none", "")
    yield Stop("models-empty", "/models", "newcomer")
    yield Stop("data-empty", "/data", "newcomer")
    yield Stop("jobs-empty", "/jobs", "newcomer")
    yield Stop("new", "/new")
    yield Stop("check", f"/data/{own.mistaken}")
    yield Stop("check-good", f"/data/{own.good}")
    yield Stop("check-talks", f"/data/{own.talks}")
    yield Stop("base", f"/data/{own.good}/base")
    yield Stop("settings", f"/data/{own.good}/settings?base=starter&preset=recommended")
    yield Stop("watch-held", f"/jobs/{own.held}")
    yield Stop("watch-done", f"/jobs/{own.done}")
    yield Stop("watch-failed", f"/jobs/{own.failed}")
    yield Stop("result", f"/models/{own.adapter}")
    yield Stop("try", f"/models/{own.adapter}/try")
    yield Stop("use", f"/models/{own.adapter}/use")
    yield Stop("models", "/models")
    yield Stop("data", "/data")
    yield Stop("jobs", "/jobs")
    yield Stop("account", "/account")
    yield Stop("account-keys", "/account/keys")
    yield Stop("account-bill", "/account/bill")
    yield Stop("not-found", "/models/none", "owner", 404)
    for name in ("", "accounts", "prices", "bases", "queue"):
        yield Stop(f"admin-{name}".removesuffix("-"), f"/admin/{name}".removesuffix("/"), "admin")


def session_for(furniture: Furniture, language: Language, who: Who) -> str:
    """What the cookie of that visitor says; "" for nobody."""
    sessions = {
        "": "",
        "owner": furniture.homes[language].session,
        "newcomer": furniture.newcomer,
        "admin": furniture.admin,
    }
    return sessions[who]
