"""The processes of one service on one machine: the port, the greeting, and what each of the three is started with."""

import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from postil.cli.children import Child, Process, start_process
from postil.cli.screen import Screen
from postil.cli.whereabouts import address_of
from postil.errors import CannotWriteError, UsageError
from postil.language import say
from postil.operating_system import os_reason
from postil.platform.accounts.accounts import has_admin
from postil.platform.accounts.one_time_links import LIFETIME, make_first_admin_link
from postil.platform.service import Service
from postil.platform.settings import ServiceSettings


def refuse_open_door(service: Service) -> None:
    """Sees to it that nobody but this machine reaches a service that no admin looks after.

    Raises:
        UsageError: the address is not of loopback, and there is no admin yet.
    """
    if not is_loopback(service.settings.host) and not has_admin(service):
        raise UsageError("cli.web.no_admin", host=service.settings.host, path=str(service.settings.data_dir))


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Takes the port. The web process gets the socket: where it dies, clients wait for the next one instead of failing.

    Raises:
        CannotWriteError: the port or the address is not to be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise CannotWriteError("cli.web.no_port", host=host, port=port, reason=os_reason(error)) from error
    with listening:
        yield listening


@contextmanager
def stop_asked() -> Iterator[Event]:
    """An event that Ctrl-C and SIGTERM set."""
    event = Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: event.set()) for number in signals}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class House:
    """The three processes of one service, and what is said about them.

    Args:
        listening: the socket that the web process serves.
    """

    settings: ServiceSettings
    listening: socket.socket
    screen: Screen
    exit_code: int = 0
    said: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.web = Child("web", self._start_web, self._ended)
        self.supervisor = Child("supervisor", self._start_supervisor, self._ended)
        self.serving = Child("serving", self._start_serving, self._serving_ended)

    @property
    def address(self) -> str:
        """Where the service is."""
        return address_of(*self.listening.getsockname()[:2])

    def greet(self, service: Service) -> None:
        """Says where the service is, and what to do first."""
        address = self.address
        self.screen.say("cli.web.address", "bold", address=address)
        self.screen.say("cli.web.data_is", path=self.settings.data_dir)
        self.screen.say("cli.web.logs_are", path=self.settings.data_dir / "logs")
        token = make_first_admin_link(service)
        if token is not None:  # two addresses stand there now, so it is said which one is whose
            self.screen.say("cli.web.first_admin", "bold", address=address, token=token, days=LIFETIME.days)
        self.screen.say("cli.web.next" if token is None else "cli.web.next_first", address=address)
        self.screen.result({"address": address, "data": str(self.settings.data_dir), "pid": os.getpid()})

    def leave(self) -> None:
        """Forgets where answers came from; nobody is to ask there any more."""
        (self.settings.data_dir / "serving.json").unlink(missing_ok=True)

    def _log(self, name: str) -> IO[bytes]:
        folder = self.settings.data_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / f"{name}.out").open("ab")

    def _start_web(self) -> Process:
        descriptor = self.listening.fileno()
        command = [sys.executable, "-m", "postil.web", "--data", str(self.settings.data_dir), "--fd", str(descriptor)]
        with self._log("web") as log:
            return start_process(command, log, inherit=[descriptor])

    def _start_supervisor(self) -> Process:
        # where this process is killed, the next `postil web` finds the place free
        module = ["-m", "postil.platform.supervisor", "--exit-with-parent"]
        command = [sys.executable, *module, "--data", str(self.settings.data_dir)]
        with self._log("supervisor") as log:
            return start_process(command, log)

    def _start_serving(self) -> Process:
        token = secrets.token_urlsafe(32)
        spec = self.settings.data_dir / "serving_spec.json"
        reading, writing = os.pipe()
        try:
            with self._log("serving") as log:
                write_private(spec, serving_spec(self.settings, reading))
                command = [sys.executable, "-m", "postil.serving", str(spec)]
                process = start_process(command, log, inherit=[reading], reads=True)
            os.write(writing, token.encode())
        finally:
            os.close(reading)
            os.close(writing)
        Thread(target=self._hear_serving, args=(process, token), daemon=True).start()
        return process

    def _hear_serving(self, process: Process, token: str) -> None:
        """Writes down where the process that answers listens, once it does."""
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                said = _object(line)
                if said.get("ready") is True:
                    place = {"address": said["address"], "token": token, "pid": process.pid}
                    write_private(self.settings.data_dir / "serving.json", place)
                elif said.get("ready") is False:
                    self._say_once("cli.web.no_serving_because", reason=said.get("error", {}).get("message", "?"))

    def _serving_ended(self, child: Child, code: int) -> None:
        self.leave()
        if child.has_given_up:  # the rest of the service is of use without it; it is tried again, slowly
            child.has_given_up = False
            child.next_start_seconds += 60
        self._ended(child, code)

    def _ended(self, child: Child, code: int) -> None:
        if child.has_given_up:
            self.exit_code = code
        self.screen.say("cli.web.ended", "yellow", name=child.name, code=code, path=self.settings.data_dir / "logs")

    def _say_once(self, key: str, **values: Any) -> None:
        text = say(key, **values)
        if text not in self.said:
            self.said.add(text)
            self.screen.line(text, "yellow")


def serving_spec(settings: ServiceSettings, token_descriptor: int) -> dict[str, Any]:
    """What the process that answers is told; see serving/spec.py."""
    return {
        "base": settings.serving_base,
        "threads": settings.answer_threads,
        "host": "127.0.0.1",
        "port": 0,
        "control_token_fd": token_descriptor,
        "max_queued": settings.max_waiting_answers,
        "exit_with_parent": True,
    }


def write_private(path: Path, value: dict[str, Any]) -> None:
    """JSON that only this user reads, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    os.replace(beside, path)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
