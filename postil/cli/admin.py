"""`postil admin`: accounts and hub tokens of the service, seen to from its own machine."""

import getpass
import sys
from typing import Annotated

import typer

from postil.cli.help import TaughtCommand, TaughtGroup, show_verbs
from postil.cli.opening import DataOption, opened
from postil.cli.options import AsJson
from postil.cli.screen import open_screen
from postil.errors import UsageError
from postil.language import say

admin = typer.Typer(cls=TaughtGroup, help="cli.admin.help", callback=show_verbs, invoke_without_command=True)
# More than any password: a file that was given by mistake is not read whole.
_MOST_BYTES = 10_000


@admin.command("create", cls=TaughtCommand, help="cli.admin.create.help")
def create(
    name: Annotated[str, typer.Argument(metavar="EMAIL", help="cli.admin.create.name")],
    data: DataOption = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="cli.admin.create.password_stdin")] = False,
    as_json: AsJson = False,
) -> None:
    """Makes an admin; the data folder, too, where there is none yet."""
    from postil.platform.accounts.accounts import create_account

    screen = open_screen(as_json)
    password = read_line() if password_stdin else ask_for_password()
    with opened(data) as service:
        account = create_account(service, name, password, role="admin")
    screen.say("cli.admin.create.done", name=account.name)
    screen.result({"account_id": account.id, "name": account.name, "role": account.role})


@admin.command("reset", cls=TaughtCommand, help="cli.admin.reset.help")
def reset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cli.admin.reset.name")],
    data: DataOption = None,
    as_json: AsJson = False,
) -> None:
    """Prints a link that sets a password once, alone on its line."""
    from postil.cli.whereabouts import address_of, find_running_address
    from postil.platform.accounts.accounts import get_account_by_name
    from postil.platform.accounts.one_time_links import LIFETIME, make_reset_link

    screen = open_screen(as_json)
    with opened(data) as service:
        account = get_account_by_name(service, name)
        token = make_reset_link(service, account.id)
        running = find_running_address(service.settings.data_dir)
        address = running or address_of(service.settings.host, service.settings.port)
    link = f"{address}/links/{token}"
    screen.say("cli.admin.reset.done", name=account.name, days=LIFETIME.days)
    if running is None:
        screen.say("cli.admin.reset.not_running", address=address)
    screen.line(link, "cyan")
    told = {"account_id": account.id, "name": account.name, "token": token, "link": link}
    screen.result(told | {"is_running": running is not None})


@admin.command("hub-token", cls=TaughtCommand, help="cli.admin.hub_token.help")
def hub_token(
    hub: Annotated[str, typer.Argument(metavar="HUB", help="cli.admin.hub_token.hub")],
    data: DataOption = None,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="cli.admin.hub_token.token_stdin")] = False,
    forgets: Annotated[bool, typer.Option("--forget", help="cli.admin.hub_token.forget")] = False,
    as_json: AsJson = False,
) -> None:
    """Keeps or forgets a hub's token, or says whether there is one; never what it is."""
    from postil.platform.store.hub_tokens import get_hub_token_view, set_hub_token

    if token_stdin and forgets:
        raise UsageError("cli.admin.hub_token.both")
    screen = open_screen(as_json)
    token = read_line() if token_stdin else None
    with opened(data) as service:
        if token_stdin or forgets:
            set_hub_token(service, hub, token)
        since = get_hub_token_view(service, hub).kept_since
    kept = "none" if since is None else "kept"
    screen.say(f"cli.admin.hub_token.{kept}", hub=hub, since=f"{since:%Y-%m-%d %H:%M}" if since else "")
    screen.result({"hub": hub, "kept_since": since})


def read_line() -> str:
    """One line of standard input, without its end."""
    line = sys.stdin.buffer.readline(_MOST_BYTES)
    return line.decode("utf-8", "replace").rstrip("\r\n")


def ask_for_password() -> str:
    """Asks twice on the terminal, showing nothing.

    Raises:
        UsageError: there is no terminal, or the two differ.
    """
    from postil.platform.accounts.passwords import MIN_LETTERS

    if not sys.stdin.isatty():
        raise UsageError("cli.admin.create.no_terminal")
    password = getpass.getpass(say("cli.admin.create.ask", least=MIN_LETTERS))
    if getpass.getpass(say("cli.admin.create.ask_again")) != password:
        raise UsageError("cli.admin.create.different")
    return password
