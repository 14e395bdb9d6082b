"""The servers of a run, and the users of a test."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import pytest
from harness.authority import Authority
from harness.chancery import Chancery
from harness.postgres import Postgres
from harness.server import Server
from harness.synapse import Synapse
from harness.user import User

# The servers of Alice and of Bob.
PAIRS = [("chancery", "synapse"), ("synapse", "chancery"), ("chancery", "chancery_two")]


class Network:
    """The servers that federate; each is started when the first test asks for it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.authority = Authority(folder)
        self.servers: dict[str, Server] = {}

    @cached_property
    def postgres(self) -> Postgres:
        """For servers that do not manage one themselves."""
        return Postgres(self.folder / "postgres")

    def server(self, name: str) -> Server:
        if name not in self.servers:
            self.servers[name] = self._start(name)
        return self.servers[name]

    def server_of(self, user: User) -> Server:
        return next(server for server in self.servers.values() if server.name == user.server_name)

    def _start(self, name: str) -> Server:
        folder = self.folder / name
        if name != "synapse":
            address = f"127.0.0.{2 + len(self.servers)}"
            return Chancery(folder, address, self.authority)
        return Synapse(folder, "127.0.0.100", self.authority, self.postgres)

    def stop(self) -> None:
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(lambda server: server.stop(), self.servers.values()))
        for server in self.servers.values():
            server.link.close()
        if "postgres" in self.__dict__:
            self.postgres.stop()


@pytest.fixture(scope="session")
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    # Servers started by root run their PostgreSQL as another user, who must be able to reach the data.
    folder = Path(tempfile.mkdtemp(prefix="chancery-peers-"))
    folder.chmod(0o755)
    network = Network(folder)
    # Whoever ends the run does not leave the servers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield network
    finally:
        network.stop()
    if request.session.testsfailed:
        print(f"\nThe logs are kept in {folder}")
    else:
        shutil.rmtree(folder)


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, network: Network) -> tuple[Server, Server]:
    here, there = request.param
    return network.server(here), network.server(there)


@pytest.fixture
def here(pair: tuple[Server, Server]) -> Server:
    return pair[0]


@pytest.fixture
def there(pair: tuple[Server, Server]) -> Server:
    return pair[1]


@pytest.fixture
def alice(here: Server) -> User:
    return here.register("alice")


@pytest.fixture
def bob(there: Server) -> User:
    return there.register("bob")
