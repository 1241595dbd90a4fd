"""`postil keys`: keys for programs, made, listed and ended from the service's own machine."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from postil.cli.help import TaughtCommand, TaughtGroup, show_verbs
from postil.cli.opening import DataOption, opened
from postil.cli.options import AsJson
from postil.cli.prose import Prose
from postil.cli.screen import harmless, open_screen
from postil.errors import UsageError
from postil.language import say

if TYPE_CHECKING:
    from postil.platform.accounts.api_keys import ApiKeyView
    from postil.platform.service import Service

keys = typer.Typer(cls=TaughtGroup, help="cli.keys.help", callback=show_verbs, invoke_without_command=True)
AccountOption = Annotated[str, typer.Option("--account", metavar="EMAIL", help="cli.keys.account")]
MAX_DAYS = 3650
_ALL = "read,train,chat"


@keys.command("create", cls=TaughtCommand, help="cli.keys.create.help")
def create(
    account: AccountOption,
    data: DataOption = None,
    scopes: Annotated[
        str, typer.Option("--scopes", metavar="NAMES", help="cli.keys.create.scopes")
    ] = "read,train,chat",
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="cli.keys.create.name")] = "shell",
    days: Annotated[int | None, typer.Option("--days", metavar="N", help="cli.keys.create.days")] = None,
    as_json: AsJson = False,
) -> None:
    """Prints the key and nothing else, so that a script can take it."""
    from postil.platform.accounts.accounts import get_account_by_name
    from postil.platform.accounts.api_keys import make_key

    if days is not None and not 1 <= days <= MAX_DAYS:
        raise UsageError("cli.keys.create.bad_days", days=days)
    screen = open_screen(as_json)
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    with opened(data) as service:
        holder = get_account_by_name(service, account)
        expires_at = None if days is None else service.now() + timedelta(days=days)
        view, text = make_key(service, holder.id, name, wanted, expires_at)
    if not as_json:
        screen.line(text)
    screen.result({"key_id": view.id, "key": text, "scopes": list(view.scopes), "expires_at": view.expires_at})


@keys.command("list", cls=TaughtCommand, help="cli.keys.list.help")
def list_all(account: AccountOption, data: DataOption = None, as_json: AsJson = False) -> None:
    """A line for each, with those that have ended."""
    from postil.platform.accounts.accounts import get_account_by_name
    from postil.platform.accounts.api_keys import list_keys

    screen = open_screen(as_json)
    with opened(data) as service:
        holder = get_account_by_name(service, account)
        found = list_keys(service, holder.id)
        states = [_state(key, service) for key in found]
    if not found:
        screen.say("cli.keys.list.none", name=holder.name)
    else:
        screen.show(_table(found, states))
    screen.result({"keys": [_as_dict(key, state) for key, state in zip(found, states, strict=True)]})


@keys.command("revoke", cls=TaughtCommand, help="cli.keys.revoke.help")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="cli.keys.revoke.key")],
    account: AccountOption,
    data: DataOption = None,
    as_json: AsJson = False,
) -> None:
    """By its identifier or by how it begins; of a whole key that was pasted the secret is not looked at."""
    from postil.platform.accounts.accounts import get_account_by_name
    from postil.platform.accounts.api_keys import revoke_key

    screen = open_screen(as_json)
    with opened(data) as service:
        holder = get_account_by_name(service, account)
        parts = key.split("_")
        key_id = f"key_{parts[1]}" if parts[0] == "pk" and len(parts) > 1 else key
        view = revoke_key(service, holder.id, key_id)
    screen.say("cli.keys.revoke.done", name=view.name, start=view.start)
    screen.result({"key_id": view.id, "revoked_at": view.revoked_at})


def _state(key: "ApiKeyView", service: "Service") -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "ended" if key.expires_at is not None and key.expires_at <= service.now() else "valid"


def _table(found: Sequence["ApiKeyView"], states: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "start", "scopes", "used", "state"):
        table.add_column(say(f"cli.keys.list.{column}"), overflow="fold")
    for key, state in zip(found, states, strict=True):
        used = f"{key.used_at:%Y-%m-%d %H:%M}" if key.used_at else "-"
        words = (key.name, key.start, ", ".join(key.scopes), used, say(f"cli.keys.list.{state}"))
        table.add_row(*(Prose(harmless(word)) for word in words))
    return table


def _as_dict(key: "ApiKeyView", state: str) -> dict[str, object]:
    return {
        "key_id": key.id,
        "name": key.name,
        "start": key.start,
        "scopes": list(key.scopes),
        "used_at": key.used_at,
        "expires_at": key.expires_at,
        "state": state,
    }
