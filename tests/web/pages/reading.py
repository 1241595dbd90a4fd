"""Pages as they are read."""

import re
from html import unescape

from starlette.testclient import TestClient


def text_of(page: str) -> str:
    """What is read on a page, without tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def account_of(client: TestClient) -> str:
    """The account that a client has signed in."""
    return str(client.get("/api/account").json()["id"])
