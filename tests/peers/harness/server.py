"""What the tests know of any homeserver."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path

import httpx

from .link import Link
from .process import Process
from .user import Json, User

PASSWORD = "correct horse battery staple"


class Server(ABC):
    """A homeserver: reached by others through its link, by clients directly."""

    numbers = itertools.count(1)

    def __init__(self, folder: Path, name: str, link: Link, client_port: int):
        self.folder, self.name, self.link = folder, name, link
        self.clients_url = f"http://127.0.0.1:{client_port}"
        self.process: Process | None = None

    @abstractmethod
    def launch(self) -> Process:
        """Starts the program, and returns when it is ready."""

    def start(self) -> None:
        self.process = self.launch()

    def stop(self) -> None:
        """Stops it in order."""
        self.running.stop()

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.running.kill()

    @property
    def running(self) -> Process:
        assert self.process is not None, f"{self.name} was not started"
        return self.process

    def answers(self, path: str) -> bool:
        """Whether a GET of the path succeeds."""
        return answers(self.clients_url + path)

    def register(self, name: str) -> User:
        """Makes an account whose name begins so, and logs it in."""
        request = {
            "username": f"{name}{next(self.numbers)}",
            "password": PASSWORD,
            "auth": {"type": "m.login.dummy"},
        }
        return _session(self.clients_url, self.name, "register", request)


def log_in(clients_url: str, server_name: str, name: str) -> User:
    """Logs an account in that is there."""
    identifier = {"type": "m.id.user", "user": name}
    request = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    return _session(clients_url, server_name, "login", request)


def answers(url: str) -> bool:
    """Whether a GET of the URL succeeds."""
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _session(clients_url: str, server_name: str, endpoint: str, request: Json) -> User:
    response = httpx.post(f"{clients_url}/_matrix/client/v3/{endpoint}", json=request, timeout=30)
    assert response.status_code == 200, response.text
    session = response.json()
    return User(clients_url, server_name, session["user_id"], session["device_id"], session["access_token"])
