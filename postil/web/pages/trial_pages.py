"""What the page on which a model is tried shows: the box, who may answer, and the questions so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import Request
from starlette.responses import Response

from postil.errors import MissingInputError, PostilError
from postil.platform.adapters import trials
from postil.platform.adapters.adapters import get_adapter
from postil.platform.adapters.servable import usable_adapters
from postil.platform.adapters.trial_views import TrialView
from postil.platform.adapters.views import AdapterView
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.jobs.reports import find_report
from postil.platform.service import Service
from postil.web.auth import Visitor
from postil.web.errors import Reply, describe_error
from postil.web.pages.asking import refuse_unserved
from postil.web.pages.code import Snippet, curl_snippet, python_call, python_snippet, service_address
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page

_PAGE, _NUM_SAMPLES, _MOST_SAMPLE_CHARS = 20, 3, 160


@dataclass(frozen=True, slots=True)
class Typed:
    """What the form holds.

    Args:
        other: identifier of a third who answers; "" for none.
        follows: the trial that is gone on from; "" for none.
    """

    question: str = ""
    is_blind: bool = False
    is_freer: bool = False
    other: str = ""
    follows: str = ""

    @classmethod
    def of(cls, form: Form) -> "Typed":
        """As it was sent."""
        flags = form.has("blind"), form.has("freer")
        return cls(form.raw("question"), *flags, form.get("other"), form.get("follows"))


def trial_part(
    request: Request,
    service: Service,
    visitor: Visitor,
    trial: TrialView,
    *,
    is_fresh: bool = False,
    is_voted: bool = False,
    trouble: Reply | None = None,
    typed_answer: str | None = None,
) -> Response:
    """One question with its answers, as a part of the page.

    Args:
        is_fresh: its answers are to be asked for by the script.
        is_voted: the count of votes comes with it.
        trouble: what is wrong with a vote or a correction.
        typed_answer: a correction that was not taken.
    """
    account_id = visitor.account.id
    adapter = get_adapter(service, account_id, trial.adapter_id)
    values: dict[str, Any] = {
        "adapter": adapter,
        "trial": trial,
        "dataset": _own_data(service, account_id, adapter),
        "is_fresh": is_fresh,
        "trial_trouble": trouble,
        "trouble_of": trial.id,
        "typed_answer": typed_answer,
        "most_turns": trials.MOST_TURNS,
        "votes": trials.count_votes(service, account_id, trial.adapter_id) if is_voted else None,
    }
    return page(request, "trial_part.html", trouble.status if trouble else 200, **values)


def try_page(
    request: Request,
    service: Service,
    visitor: Visitor,
    adapter_id: str,
    typed: Typed,
    trouble: Reply | None = None,
    *,
    after: str | None = None,
    status: int = 200,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Response:
    """The whole page.

    Args:
        typed: is in the box.
        trouble: why it was not asked.
        after: the trial that ended the page before.
        beside: what stands at one question: trouble_of, trial_trouble, typed_answer.
    """
    account_id = visitor.account.id
    adapter = get_adapter(service, account_id, adapter_id)
    followed = trials.get_trial(service, account_id, adapter_id, typed.follows) if typed.follows else None
    dataset = _own_data(service, account_id, adapter)
    shown = trials.list_trials(service, account_id, adapter_id, limit=_PAGE, after=after)
    values: dict[str, Any] = {
        "adapter": adapter,
        "typed": typed,
        "followed": followed,
        "others": [a for a in usable_adapters(service, account_id, base=adapter.base) if a.adapter_id != adapter_id],
        "dataset": dataset,
        "samples": _samples(service, account_id, adapter, dataset),
        "trials": shown,
        "older": shown[-1].id if len(shown) == _PAGE else None,
        "is_later_page": after is not None,
        "votes": trials.count_votes(service, account_id, adapter_id),
        "trouble": trouble,
        "unserved": _unserved(request, service, adapter),
        "snippets": _snippets(request, adapter, typed.question or "..."),
        "is_fresh": False,
        "most_chars": trials.MOST_QUESTION_CHARS,
        "most_turns": trials.MOST_TURNS,
        "trouble_of": None,
        "trial_trouble": None,
        "typed_answer": None,
    }
    return page(request, "try.html", trouble.status if trouble else status, **{**values, **beside})


def _own_data(service: Service, account_id: str, adapter: AdapterView) -> DatasetView | None:
    """The data that an adapter was trained on, where they are the reader's and still there."""
    dataset_id = adapter.lineage.get("dataset_id")
    try:
        return get_dataset(service, account_id, dataset_id) if dataset_id else None
    except MissingInputError:
        return None


def _samples(service: Service, account_id: str, adapter: AdapterView, dataset: DatasetView | None) -> list[str]:
    """A few short questions of the reader's own, so that the first one need not be invented.

    Those that were kept aside go first: they are from all over the file, and the model has never learned them.
    """
    if dataset is None:
        return []
    texts = _short(_kept_aside(service, account_id, adapter))
    if not texts:
        examples = (dataset.summary or {}).get("examples", ())
        texts = _short(next((m["content"] for m in e["messages"] if m["role"] == "user"), "") for e in examples)
    last, wanted = len(texts) - 1, min(_NUM_SAMPLES, len(texts))
    return [texts[i * last // max(1, wanted - 1)] for i in range(wanted)]


def _kept_aside(service: Service, account_id: str, adapter: AdapterView) -> list[str]:
    """The questions of the comparison; none where the training is gone or has left none."""
    try:
        report = find_report(service, account_id, adapter.job_id) if adapter.job_id else None
    except MissingInputError:
        return []
    return [answer.question for answer in report.answers] if report else []


def _short(questions: Iterable[str]) -> list[str]:
    return [text for text in questions if 0 < len(text) <= _MOST_SAMPLE_CHARS]


def _snippets(request: Request, adapter: AdapterView, question: str) -> tuple[Snippet, ...]:
    """Both asked by a program."""
    address, options = service_address(request), {**trials.LIKELIEST, "max_tokens": trials.MOST_ANSWER_TOKENS}
    names = (adapter.base, adapter.model_name)
    calls = [f"print({python_call('client.chat', name, question, **options)})" for name in names]
    messages = [{"role": "user", "content": question}]
    body = {"model": adapter.model_name, "messages": messages, **options}
    curl = curl_snippet(address, "POST", "/v1/chat/completions", body)
    return python_snippet(address, *calls), curl


def _unserved(request: Request, service: Service, adapter: AdapterView) -> Reply | None:
    """Why no answer can come now; None where one can."""
    try:
        refuse_unserved(request, service, adapter)
    except PostilError as error:
        return describe_error(error)
    return None


def is_part(request: Request) -> bool:
    """True where the script asks for a part of the page."""
    return "hx-request" in request.headers
