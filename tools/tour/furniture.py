"""A service with something of everything in it, made through the platform and the REST interface with real runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from postil.client import Client
from postil.errors import DataError
from postil.language import LANGUAGES, Language
from postil.platform.accounts.accounts import create_account
from postil.platform.accounts.api_keys import make_key
from postil.platform.accounts.sign_ins import sign_in
from postil.platform.adapters.trials import keep_answer, start_trial
from postil.platform.jobs.jobs import change_state, insert_job
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.stored_errors import StoredError
from postil.wire.adapters import Adapter
from postil.wire.jobs import Job
from tools.tour.content import good_rows, write_good_table, write_mistaken_workbook, write_talks

PASSWORD = "correct horse battery"
QUICK = {"training.epochs": 1, "training.batch_rows": 4, "evaluation.max_answers": 2, "adapter.rank": 4}
NAMES: dict[Language, str] = {"en": "anna", "zh": "mei"}
TUNED: dict[Language, str] = {"en": "Tea shop", "zh": "茶叶店客服"}


@dataclass(frozen=True)
class Belongings:
    """What one account has.

    Args:
        name, account: of the account, and its identifier.
        session: what its browser's cookie says.
        mistaken, good, talks: data sets: with mistakes, without, of several turns.
        done, held, failed: jobs: one that has succeeded, one that was paused, one that has failed.
        adapter: of the job that has succeeded.
    """

    name: str
    account: str
    session: str
    mistaken: str
    good: str
    talks: str
    done: str
    held: str
    failed: str
    adapter: str


@dataclass(frozen=True)
class Furniture:
    """Who is there.

    Args:
        homes: for each language an account whose data are in that language.
        admin, newcomer: sessions of an admin, and of an account that has nothing yet.
    """

    homes: dict[Language, Belongings]
    admin: str
    newcomer: str


def furnish(address: str, data: Path, settings: Mapping[str, Any] = QUICK) -> Furniture:
    """Fills a running service, which answers on the starter.

    Args:
        data: its folder.
        settings: of the trainings that are to succeed; those of `QUICK` take seconds and teach little.
    """
    service = open_service(load_settings(data))
    try:
        with TemporaryDirectory() as folder:
            homes = {language: _home(service, address, Path(folder), language, settings) for language in LANGUAGES}
        create_account(service, "lin", PASSWORD, role="admin")
        create_account(service, "newcomer", PASSWORD)
        return Furniture(homes, session_of(service, "lin"), session_of(service, "newcomer"))
    finally:
        service.database.engine.dispose()


def session_of(service: Service, name: str) -> str:
    """A new session of an account with the usual password."""
    return sign_in(service, name, PASSWORD, "tour").token


def _home(service: Service, address: str, folder: Path, language: Language, settings: Mapping[str, Any]) -> Belongings:
    name = NAMES[language]
    account = create_account(service, name, PASSWORD)
    key = make_key(service, account.id, "tour", ["read", "train", "chat"])[1]
    with Client(address, key, language=language) as client:
        mistaken = client.check(client.upload(write_mistaken_workbook(folder, language))).id
        good = client.check(client.upload(write_good_table(folder, language))).id
        talks = client.check(client.upload(write_talks(folder, language))).id
        # Long, so that no machine is done before the wish to pause arrives; a few percent of it are a curve already.
        long = {"training.epochs": 60, "training.batch_rows": 4, "adapter.rank": 4}
        held = client.train(talks, settings=long, name=TUNED[language] + " 2")
        for seen in client.watch(held.id, every_seconds=0.2):
            if (seen.progress.percent or 0) > 8 and not seen.wish:
                client.pause(held.id)
            if seen.state == "paused":
                break
        done = _ended(client, client.train(good, settings=settings, name=TUNED[language]))
        assert done.state == "succeeded", done.error
        client.set_alias(f"tea-{language}@prod", str(done.adapter_id))
        for question in (good_rows(language)[4][0], good_rows(language)[9][0]):
            _try(service, account.id, client, client.adapter(str(done.adapter_id)), question)
    failed = _failed(service, account.id, good, TUNED[language] + " 0")
    session = session_of(service, name)
    adapter = str(done.adapter_id)
    return Belongings(name, account.id, session, mistaken, good, talks, done.id, held.id, failed, adapter)


def _failed(service: Service, account_id: str, dataset_id: str, name: str) -> str:
    """A job that has failed at its twelfth step; its identifier."""
    error = DataError("training.diverged", step=12, rate=0.5, places="6, 17, 29")
    spec = {"settings": {}, "preset": "recommended", "kind": None, "seed": 0, "rows": 40}
    now = service.now()
    with service.database.writing() as session:
        job_id = insert_job(
            session,
            account_id=account_id,
            name=name,
            dataset_id=dataset_id,
            dataset_version=1,
            base="starter",
            spec=spec,
            now=now,
            is_checked=False,
        ).id
        told = StoredError.of(error).as_dict()
        assert change_state(session, job_id, ["validating_files"], "failed", 0, now=now, error=told)
    return job_id


def _try(service: Service, account_id: str, client: Client, adapter: Adapter, question: str) -> None:
    trial = start_trial(service, account_id, adapter.id, question)
    for answer in trial.answers:
        model = adapter.base if answer.side == "base" else adapter.id
        text = client.chat(model, question, temperature=0, max_tokens=60)
        keep_answer(service, account_id, trial.id, answer.place, text, "stop")


def _ended(client: Client, job: Job) -> Any:
    return list(client.watch(job.id, every_seconds=0.3))[-1]
