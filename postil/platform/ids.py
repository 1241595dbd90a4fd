"""Identifiers of everything that the platform keeps: a kind and sixteen random letters, such as "job_k3v9m2x7q8w4e5ra".

They are ours: nothing that a user typed becomes part of a path or of a query's text.
"""

import re
import secrets
from typing import Literal

Kind = Literal["acc", "key", "ds", "job", "ad", "base", "led", "req", "try"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_LENGTH = 16
_ID = re.compile(rf"[a-z]{{2,4}}_[{_LETTERS}]{{{_LENGTH}}}")


def new_id(kind: Kind) -> str:
    """A new identifier; about 83 random bits."""
    return f"{kind}_" + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def is_id(text: str, kind: Kind) -> bool:
    """True for what `new_id(kind)` can have made; everything else is looked up nowhere."""
    return text.startswith(f"{kind}_") and _ID.fullmatch(text) is not None
