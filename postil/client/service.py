"""Everything that the service does, one method each. The code road's `postil train` needs none of it."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from postil.client.answers import ask, ask_in_pieces
from postil.client.files import save, send_file
from postil.client.transport import Transport
from postil.errors import TryAgainError, UsageError
from postil.language import Language
from postil.wire.accounts import Account, Freed, SignedIn
from postil.wire.adapters import Adapter, AdapterList, Alias
from postil.wire.bases import Base, BaseList
from postil.wire.chat import ModelList
from postil.wire.datasets import Dataset, DatasetList, Report, Row, RowList
from postil.wire.jobs import EventList, Job, JobList, JobRequest, Preset, Preview
from postil.wire.machine import HubName, HubToken, HubTokenList
from postil.wire.money import Balance, Line, LineList

CHECK_SECONDS, LOOK_SECONDS = 300.0, 1.0
TIMEOUT_SECONDS = 60.0


class Client:
    """A service and an account on it. Close it, or use it as a context.

    Args:
        address: such as "http://127.0.0.1:8321"; None takes POSTIL_URL.
        api_key: a key of the account, "pk_..."; None takes POSTIL_API_KEY.
        language: of errors and reasons; None takes the account's.

    Raises:
        UsageError: no address is known.
    """

    def __init__(
        self, address: str | None = None, api_key: str | None = None, *, language: Language | None = None
    ) -> None:
        address = address or os.environ.get("POSTIL_URL")
        if not address:
            raise UsageError("client.no_address")
        headers: dict[str, str] = {"accept-language": language} if language else {}
        if key := api_key or os.environ.get("POSTIL_API_KEY"):
            headers["authorization"] = f"Bearer {key}"
        self.http = httpx2.Client(base_url=address, headers=headers, timeout=TIMEOUT_SECONDS)
        self.transport = Transport(self.http)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self.http.close()

    # the account

    def sign_in(self, name: str, password: str) -> Account:
        """Goes on with a session in place of the key, for what no key may do: an admin's part."""
        body = {"name": name, "password": password}
        account = self.transport.ask(SignedIn, "POST", "/api/sign-in", json=body).account
        self.http.headers.pop("authorization", None)
        return account

    def account(self) -> Account:
        """Whose key this is."""
        return self.transport.ask(Account, "GET", "/api/account")

    def balance(self, month: str | None = None) -> Balance:
        """What is owed, held back and left in a month such as "2026-11"; None is this one."""
        return self.transport.ask(Balance, "GET", "/api/balance", params=_given(month=month))

    def ledger(self, *, month: str | None = None, job: str | None = None, limit: int = 100) -> list[Line]:
        """Lines of the bill, the newest first."""
        asked = _given(month=month, job=job, limit=limit)
        return self.transport.ask(LineList, "GET", "/api/ledger", params=asked).lines

    # data

    def upload(self, file: str | Path, *, name: str | None = None) -> Dataset:
        """Sends a file, in pieces that go on where a broken connection left them.

        Raises:
            MissingInputError: no such file here.
        """
        return send_file(self.transport, Path(file), name)

    def datasets(self, *, limit: int = 50, after: str | None = None) -> DatasetList:
        """Data sets, the newest first."""
        asked = _given(limit=limit, after=after)
        return self.transport.ask(DatasetList, "GET", "/api/datasets", params=asked)

    def dataset(self, dataset_id: str) -> Dataset:
        """One data set."""
        return self.transport.ask(Dataset, "GET", _dataset(dataset_id))

    def check(self, dataset: str | Dataset, *, timeout_seconds: float = CHECK_SECONDS) -> Dataset:
        """Waits until the check of the newest version is done.

        Raises:
            TryAgainError: it takes longer than `timeout_seconds`.
        """
        dataset_id = _id(dataset)
        ends = time.monotonic() + timeout_seconds
        while (found := self.dataset(dataset_id)).state == "validating":
            if time.monotonic() > ends:
                raise TryAgainError("client.too_long", name=found.name, seconds=timeout_seconds)
            time.sleep(min(LOOK_SECONDS, 0.3))
        return found

    def report(
        self,
        dataset_id: str,
        *,
        version: int | None = None,
        code: str | None = None,
        offset: int = 0,
        limit: int = 50,
    ) -> Report:
        """A page of the problems that were found."""
        asked = _given(version=version, code=code, offset=offset, limit=limit)
        return self.transport.ask(Report, "GET", _dataset(dataset_id, "report"), params=asked)

    def rows(self, dataset_id: str, *, version: int | None = None, offset: int = 0, limit: int = 20) -> list[Row]:
        """Rows with their edits: cells, and what they say as messages."""
        asked = _given(version=version, offset=offset, limit=limit)
        return self.transport.ask(RowList, "GET", _dataset(dataset_id, "rows"), params=asked).rows

    def fix(self, dataset: Dataset, *, codes: Sequence[str] = (), problems: Sequence[int] = ()) -> Dataset:
        """Lets a machine mend problems; without codes and numbers, all that need no asking.

        Args:
            dataset: as it was seen last; where somebody has changed it since, nothing is done.
        """
        automatic = not codes and not problems
        body = {"codes": list(codes), "problems": list(problems), "automatic": automatic}
        return self._change(dataset, "POST", "fixes", body)

    def edit_cell(
        self, dataset: Dataset, row: int, column: str, text: str, *, sheet: str | None = None, file: str = ""
    ) -> Dataset:
        """Writes another text into a cell."""
        place = {"file": file, "sheet": sheet, "row": row}
        return self._change(dataset, "POST", "cells", {"place": place, "column": column, "text": text})

    def leave_out(self, dataset: Dataset, rows: Sequence[int], *, sheet: str | None = None, file: str = "") -> Dataset:
        """Takes rows out of the training."""
        places = [{"file": file, "sheet": sheet, "row": row} for row in rows]
        return self._change(dataset, "POST", "left-out", {"places": places})

    def set_options(
        self,
        dataset: Dataset,
        *,
        encoding: str | None = None,
        columns: Mapping[str, str] | None = None,
        single_turn: bool = False,
        kind: str | None = None,
    ) -> Dataset:
        """Says how the file is to be read from now on, in place of what was said before."""
        body = {"encoding": encoding, "columns": dict(columns or {}), "single_turn": single_turn, "kind": kind}
        return self._change(dataset, "PUT", "options", body)

    def undo(self, dataset: Dataset, *, to: int | None = None) -> Dataset:
        """Goes back to an earlier version; None is the one before."""
        return self._change(dataset, "POST", "undo", {"to": to})

    def corrected_file(self, dataset_id: str, path: str | Path, *, version: int | None = None) -> Path:
        """Saves the file with all edits, in its own format; a folder takes the name that the service proposes."""
        return save(self.transport, _dataset(dataset_id, "file"), Path(path), _given(version=version))

    def rename_dataset(self, dataset_id: str, name: str) -> Dataset:
        """Gives it another name."""
        return self.transport.ask(Dataset, "PATCH", _dataset(dataset_id), json={"name": name})

    def delete_dataset(self, dataset_id: str) -> int:
        """Deletes it for good; returns the bytes freed."""
        return self.transport.ask(Freed, "DELETE", _dataset(dataset_id)).freed_bytes

    def _change(self, dataset: Dataset, method: str, verb: str, body: dict[str, Any]) -> Dataset:
        sent = {"version": dataset.version, **body}
        # sent twice it would be refused the second time, as of a version that is not the newest
        return self.transport.ask(Dataset, method, _dataset(dataset.id, verb), is_safe=False, json=sent)

    # training

    def bases(self) -> list[Base]:
        """Bases that may be trained here."""
        return self.transport.ask(BaseList, "GET", "/api/bases").bases

    def preview(self, dataset: str | Dataset, **wishes: Any) -> Preview:
        """What a job would be: settings with reasons, time, memory, price; wishes as `train` takes them."""
        body = JobRequest(dataset_id=_id(dataset), **wishes).model_dump(mode="json")
        return self.transport.ask(Preview, "POST", "/api/preview", is_safe=True, json=body)

    def train(
        self,
        dataset: str | Dataset,
        *,
        base: str = "starter",
        preset: Preset = "recommended",
        settings: Mapping[str, Any] | None = None,
        version: int | None = None,
        name: str | None = None,
        kind: str | None = None,
        seed: int = 0,
        client_token: str | None = None,
    ) -> Job:
        """Submits a job. It may be sent twice: a token of its own sees to it that one job is made.

        Args:
            settings: those that are not left to the advice, by dotted name, such as {"training.epochs": 3}.
            version: of the data set; None takes the newest.
            kind: what the data are for; None takes what was found.
            client_token: your own, where you try again yourself: the same request with it is the same job for a minute.

        Raises:
            QuotaError: the account's money or disk does not suffice.
            TooManyError: too many of its jobs wait already.
        """
        request = JobRequest(
            dataset_id=_id(dataset),
            base=base,
            preset=preset,
            settings=dict(settings or {}),
            version=version,
            name=name,
            kind=kind,
            seed=seed,
            client_token=client_token or os.urandom(16).hex(),
        )
        body = request.model_dump(mode="json")
        return self.transport.ask(Job, "POST", "/api/jobs", is_safe=True, json=body)

    def jobs(self, *, state: str | None = None, limit: int = 50, after: str | None = None) -> JobList:
        """Jobs, the newest first."""
        return self.transport.ask(JobList, "GET", "/api/jobs", params=_given(state=state, limit=limit, after=after))

    def job(self, job_id: str) -> Job:
        """One job and how far it is."""
        return self.transport.ask(Job, "GET", f"/api/jobs/{_part(job_id)}")

    def watch(self, job_id: str, *, every_seconds: float = LOOK_SECONDS) -> Iterator[Job]:
        """Yields the job whenever something about it has changed, and ends with it.

        A service that restarts meanwhile is waited for.
        """
        mark = ""
        while True:
            reply = self.transport.send("GET", f"/api/jobs/{_part(job_id)}", headers={"if-none-match": mark})
            if reply.status_code != 304:
                mark = reply.headers.get("etag", "")
                found = Job.model_validate_json(reply.content)
                yield found
                if found.has_ended:
                    return
            time.sleep(every_seconds)

    def events(self, job_id: str, *, after: int = 0) -> EventList:
        """What the run has said since `after`."""
        return self.transport.ask(EventList, "GET", f"/api/jobs/{_part(job_id)}/events", params={"after": after})

    def pause(self, job_id: str) -> Job:
        """Holds a job, at a checkpoint."""
        return self._move(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Lets a held job go on."""
        return self._move(job_id, "resume")

    def cancel(self, job_id: str) -> Job:
        """Ends a job; what has ended stays ended."""
        return self._move(job_id, "cancel")

    def _move(self, job_id: str, verb: str) -> Job:
        return self.transport.ask(Job, "POST", f"/api/jobs/{_part(job_id)}/{verb}", is_safe=True)

    # adapters and answers

    def adapters(self, *, limit: int = 50, after: str | None = None) -> AdapterList:
        """Own adapters and those that are shared with the account, the newest first."""
        return self.transport.ask(AdapterList, "GET", "/api/adapters", params=_given(limit=limit, after=after))

    def adapter(self, adapter_id: str) -> Adapter:
        """One adapter."""
        return self.transport.ask(Adapter, "GET", f"/api/adapters/{_part(adapter_id)}")

    def rename_adapter(self, adapter_id: str, name: str) -> Adapter:
        """Gives it another name."""
        path = f"/api/adapters/{_part(adapter_id)}"
        return self.transport.ask(Adapter, "PATCH", path, json={"name": name})

    def share(self, adapter_id: str, account: str) -> Adapter:
        """Lets another account use it."""
        path = f"/api/adapters/{_part(adapter_id)}/shares"
        return self.transport.ask(Adapter, "POST", path, is_safe=True, json={"account": account})

    def unshare(self, adapter_id: str, account: str) -> Adapter:
        """Takes it back."""
        path = f"/api/adapters/{_part(adapter_id)}/shares/{_part(account)}"
        return self.transport.ask(Adapter, "DELETE", path)

    def set_alias(self, name: str, adapter_id: str) -> Alias:
        """Points a name such as "shop-bot@prod" at an adapter."""
        path = f"/api/aliases/{_part(name)}"
        return self.transport.ask(Alias, "PUT", path, json={"adapter_id": adapter_id})

    def download(self, adapter_id: str, path: str | Path) -> Path:
        """Saves an adapter as a zip; a folder takes the name that the service proposes."""
        return save(self.transport, f"/api/adapters/{_part(adapter_id)}/download", Path(path), {})

    def delete_adapter(self, adapter_id: str, *, force: bool = False) -> int:
        """Deletes it for good; returns the bytes freed."""
        path = f"/api/adapters/{_part(adapter_id)}"
        return self.transport.ask(Freed, "DELETE", path, params={"force": force}).freed_bytes

    def models(self) -> ModelList:
        """What answers: the base, and the adapters that may be asked."""
        return self.transport.ask(ModelList, "GET", "/v1/models")

    def chat(self, model: str, messages: str | Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The answer to a question or a conversation.

        Args:
            model: the base, or an adapter's id, name or alias.
            options: as the `openai` wire names them, such as max_tokens or temperature.
        """
        return ask(self.transport, model, messages, options)

    def chat_in_pieces(self, model: str, messages: str | Sequence[Mapping[str, Any]], **options: Any) -> Iterator[str]:
        """The same while it is written."""
        return ask_in_pieces(self.transport, model, messages, options)

    # the machine, for an admin who has signed in

    def hub_tokens(self) -> list[HubToken]:
        """Which hubs the service keeps a token of, and since when."""
        return self.transport.ask(HubTokenList, "GET", "/api/admin/hub-token").tokens

    def set_hub_token(self, hub: HubName, token: str) -> list[HubToken]:
        """Has a token kept, with which bases are downloaded from now on."""
        body = {"hub": hub, "token": token}
        return self.transport.ask(HubTokenList, "PUT", "/api/admin/hub-token", json=body).tokens

    def forget_hub_token(self, hub: HubName) -> list[HubToken]:
        """Has a token forgotten."""
        return self.transport.ask(HubTokenList, "DELETE", "/api/admin/hub-token", params={"hub": hub}).tokens


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _id(dataset: str | Dataset) -> str:
    return dataset if isinstance(dataset, str) else dataset.id


def _part(text: str) -> str:
    return quote(text, safe="")


def _dataset(dataset_id: str, verb: str = "") -> str:
    return f"/api/datasets/{_part(dataset_id)}" + (f"/{verb}" if verb else "")
