"""The way from the web process to the private one that answers: its address, its token, and what it has attached.

`serving.json` in the data folder is written by whoever started that process; when it dies and comes back, the file
names another process, and adapters are attached anew as they are asked for.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from postil.errors import TryAgainError
from postil.language import current_language

CONNECT_SECONDS, CONTROL_SECONDS = 2.0, 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where the private process listens."""

    url: str
    token: str
    pid: int


@dataclass
class ServingDoor:
    """One per web process.

    Args:
        file: `serving.json`.
        attached: adapters that the process with `pid` has been given, with the names it knows them by.
    """

    file: Path
    client: httpx2.AsyncClient = field(default_factory=lambda: _client())
    pid: int = 0
    attached: dict[str, str] = field(default_factory=dict)

    def address(self) -> Address:
        """Where answers come from now.

        Raises:
            TryAgainError: nothing answers here, or not yet.
        """
        try:
            found = json.loads(self.file.read_text("utf-8"))
            address = Address(found["address"], found["token"], found["pid"])
        except (OSError, ValueError, KeyError):
            raise TryAgainError("web.no_answers", retry_after_seconds=5) from None
        if address.pid != self.pid:
            self.pid, self.attached = address.pid, {}
        return address

    def has(self, adapter_id: str, name: str) -> bool:
        """True where the process of now was given this adapter under this name."""
        self.address()
        return self.attached.get(adapter_id) == name

    async def attach(self, adapter_id: str, name: str, folder: Path) -> None:
        """Gives an adapter to the process that answers.

        Args:
            name: what requests call it.

        Raises:
            TryAgainError: the process is not there, or refuses.
        """
        body = {"directory": str(folder), "name": name}
        reply = await self._control(self.address(), "PUT", f"/control/adapters/{adapter_id}", body)
        if reply.status_code != 200:
            raise TryAgainError("web.not_attached", reason=_message(reply))
        self.attached[adapter_id] = name

    async def detach(self, adapter_id: str) -> None:
        """Takes an adapter away; nothing happens where it is not attached or nothing answers."""
        self.attached.pop(adapter_id, None)
        try:
            await self._control(self.address(), "DELETE", f"/control/adapters/{adapter_id}", None)
        except TryAgainError:
            return

    async def state(self) -> dict[str, Any] | None:
        """What the process says about itself; None where nothing answers."""
        try:
            reply = await self._control(self.address(), "GET", "/control/state", None)
        except TryAgainError:
            return None
        found: dict[str, Any] | None = reply.json() if reply.status_code == 200 else None
        return found

    async def ask(self, body: dict[str, Any], request_id: str) -> httpx2.Response:
        """Sends a chat request on; the caller reads the answer's pieces and closes it.

        Raises:
            TryAgainError: the process is not there.
        """
        address = self.address()
        request = self.client.build_request(
            "POST",
            f"{address.url}/v1/chat/completions",
            json=body,
            headers=_headers(address) | {"x-request-id": request_id},
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS),
        )
        try:
            return await self.client.send(request, stream=True)
        except httpx2.TransportError:
            raise TryAgainError("web.no_answers", retry_after_seconds=2) from None

    async def _control(self, address: Address, method: str, path: str, body: Any) -> httpx2.Response:
        try:
            return await self.client.request(
                method, address.url + path, json=body, headers=_headers(address), timeout=CONTROL_SECONDS
            )
        except httpx2.TransportError:
            raise TryAgainError("web.no_answers", retry_after_seconds=2) from None


def _client() -> httpx2.AsyncClient:
    # never through a proxy of the environment: the other end is this machine
    return httpx2.AsyncClient(trust_env=False, limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16))


def _headers(address: Address) -> dict[str, str]:
    """The token, and the language of the account that asks: errors of the other end are passed on as they are."""
    return {"authorization": f"Bearer {address.token}", "accept-language": current_language()}


def _message(reply: httpx2.Response) -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {reply.status_code}"
