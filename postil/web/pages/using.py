"""Using a model: a key and the code that asks it, the files to take home, colleagues, and names that can be turned."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.language import say
from postil.platform.accounts.api_keys import make_key
from postil.platform.adapters import adapters as library
from postil.platform.adapters import aliases, sharing
from postil.platform.adapters.trials import list_trials
from postil.platform.service import Service
from postil.web.auth import Person, Reader, TheService, Trainer, Visitor
from postil.web.errors import Reply, describe_error, error_headers
from postil.web.pages.answer_code import NO_KEY, answer_snippets
from postil.web.pages.code import python_call, python_snippet, service_address
from postil.web.pages.forms import Form, read_form
from postil.web.pages.rendering import page, see

router = APIRouter(include_in_schema=False, prefix="/models/{adapter_id}/use")
_MOST_SAMPLE_BYTES = 70
"""Of a question that the code asks: with it the line still fits the page; a Chinese sign is as wide as two letters."""
Part = str
"""What of the page a form belongs to: "key", "share" or "alias"; its trouble is shown there."""


@router.get("")
def look(adapter_id: str, request: Request, visitor: Reader, service: TheService) -> Response:
    """Everything that one can do with it."""
    return _page(request, service, visitor, adapter_id)


@router.post("/key")
async def add_key(adapter_id: str, request: Request, visitor: Person, service: TheService) -> Response:
    """Makes a key that may ask models and do nothing else; its text is on this one page and nowhere later."""
    form = await _form_of_known(request, service, visitor, adapter_id)
    try:
        name = form.get("name") or say("use_page.key_name")
        _, secret = await anyio.to_thread.run_sync(make_key, service, visitor.account.id, name, ["chat"])
    except PostilError as error:
        return await _refused(request, service, visitor, adapter_id, "key", form, error)
    return await anyio.to_thread.run_sync(partial(_page, request, service, visitor, adapter_id, secret=secret))


@router.post("/share")
async def share(adapter_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Lets a colleague use it."""

    def work(form: Form) -> None:
        library.get_adapter(service, visitor.account.id, adapter_id)
        service.limits.allow("lookup", visitor.account.id)
        sharing.share_adapter(service, visitor.account.id, adapter_id, form.get("account"))

    return await _change(request, service, visitor, adapter_id, "share", work)


@router.post("/unshare")
async def unshare(adapter_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Takes it back from a colleague, at once."""

    def work(form: Form) -> None:
        sharing.unshare_adapter(service, visitor.account.id, adapter_id, form.get("account"))

    return await _change(request, service, visitor, adapter_id, "share", work)


@router.post("/alias")
async def set_alias(adapter_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Points a name such as shop-bot@prod here."""

    def work(form: Form) -> None:
        aliases.set_alias(service, visitor.account.id, form.get("alias"), adapter_id)

    return await _change(request, service, visitor, adapter_id, "alias", work)


@router.post("/alias/back")
async def turn_back(adapter_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Points a name where it pointed before."""

    def work(form: Form) -> None:
        aliases.turn_back_alias(service, visitor.account.id, form.get("alias"))

    return await _change(request, service, visitor, adapter_id, "alias", work)


@router.post("/alias/delete")
async def delete_alias(adapter_id: str, request: Request, visitor: Trainer, service: TheService) -> Response:
    """Deletes a name; what it pointed at stays."""

    def work(form: Form) -> None:
        aliases.delete_alias(service, visitor.account.id, form.get("alias"))

    return await _change(request, service, visitor, adapter_id, "alias", work)


async def _change(
    request: Request,
    service: Service,
    visitor: Visitor,
    adapter_id: str,
    part: Part,
    work: Callable[[Form], None],
) -> Response:
    """Does what a form asks for, and shows the page again at the part that it belongs to."""
    form = await _form_of_known(request, service, visitor, adapter_id)
    try:
        await anyio.to_thread.run_sync(work, form)
    except PostilError as error:
        return await _refused(request, service, visitor, adapter_id, part, form, error)
    return see(f"/models/{adapter_id}/use#{part}")


async def _form_of_known(request: Request, service: Service, visitor: Visitor, adapter_id: str) -> Form:
    """The form, once it is known that the model may be used: for what is not there, no form is read."""
    await anyio.to_thread.run_sync(library.get_adapter, service, visitor.account.id, adapter_id)
    return await read_form(request)


async def _refused(
    request: Request, service: Service, visitor: Visitor, adapter_id: str, part: Part, form: Form, error: PostilError
) -> Response:
    reply = describe_error(error)
    shown = partial(_page, request, service, visitor, adapter_id, part=part, trouble=reply, form=form)
    response = await anyio.to_thread.run_sync(shown)
    response.headers.update(error_headers(reply, error))
    return response


def _page(
    request: Request,
    service: Service,
    visitor: Visitor,
    adapter_id: str,
    *,
    part: Part = "",
    trouble: Reply | None = None,
    form: Form | None = None,
    secret: str | None = None,
) -> Response:
    account_id = visitor.account.id
    adapter = library.get_adapter(service, account_id, adapter_id)
    address = service_address(request)
    typed = form or Form()
    served = service.settings.serving_base
    values: dict[str, Any] = {
        "adapter": adapter,
        "secret": secret,
        "snippets": answer_snippets(
            address, secret or NO_KEY, adapter.model_name, _question(service, account_id, adapter_id)
        ),
        "sharing_code": [python_snippet(address, python_call("client.share", adapter.id, "..."))],
        "alias_code": [python_snippet(address, python_call("client.set_alias", "shop-bot@prod", adapter.id))],
        "aliases": aliases.list_aliases(service, account_id),
        "other_base": None if adapter.base == served else served,
        "part": part,
        "trouble": trouble,
        "typed": {name: typed.get(name) for name in ("name", "account", "alias")},
    }
    return page(request, "use.html", trouble.status if trouble else 200, **values)


def _question(service: Service, account_id: str, adapter_id: str) -> str:
    """What the code asks: the last question that was tried, where it is short, else a greeting."""
    tried = list_trials(service, account_id, adapter_id, limit=1)
    text = " ".join(tried[0].question.split()) if tried else ""
    return text if 0 < len(text.encode()) <= _MOST_SAMPLE_BYTES else say("use_page.greeting")
