"""The step-by-step guide for operators, as it is written."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Network
from harness.agreement import agree
from harness.chancery import BINARY
from harness.link import free_port
from harness.process import Process
from harness.server import PASSWORD, answers, log_in
from harness.user import User

GUIDE = Path(__file__).parents[2] / "docs/operations/federation.md"
NAMES = ("interior.gov.example", "finance.gov.example")
ADDRESSES = {"10.20.0.7": "127.0.0.50", "10.30.0.7": "127.0.0.51"}


class Ministry:
    """A server that is set up by the guide, by exchanging the names and addresses for the second one."""

    def __init__(self, folder: Path, ports: dict[str, int], is_first: bool):
        folder.mkdir()
        self.folder, self.ports, self.is_first = folder, ports, is_first
        self.name = NAMES[0 if is_first else 1]
        self.client_port = free_port("127.0.0.1")
        self.process: Process | None = None

    def adapt(self, text: str) -> str:
        """What of the guide stands for this ministry, on the addresses and in the folders of the test."""
        if not self.is_first:
            exchanged = dict(zip((*NAMES, *ADDRESSES), (*NAMES[::-1], *reversed(ADDRESSES)), strict=True))
            text = re.sub("|".join(map(re.escape, exchanged)), lambda found: exchanged[found[0]], text)
        for address, here in ADDRESSES.items():
            text = text.replace(f"{address}:8448", f"{here}:{self.ports[address]}").replace(address, here)
        for folder in ("/etc/chancery", "/var/lib/chancery"):
            text = text.replace(folder, str(self.folder / Path(folder).parts[1]))
        return re.sub(r"^chancery ", f"{BINARY} ", text, flags=re.M)

    def run(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", self.adapt(commands)], cwd=self.folder / "etc", capture_output=True, text=True
        )
        assert done.returncode == 0, f"{self.adapt(commands)}\n{done.stderr}{done.stdout}"
        return done.stdout

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], "CHANCERY_LISTEN": f"127.0.0.1:{self.client_port}"}
        command = [BINARY, "serve", "--config", str(self.folder / "etc/chancery.toml")]
        url = f"http://127.0.0.1:{self.client_port}/ready"
        self.process = Process(command, self.folder / "chancery.log", lambda: answers(url), environment)

    def user(self, name: str) -> User:
        self.run(f"chancery user create {name} --config /etc/chancery/chancery.toml <<< '{PASSWORD}'")
        return log_in(f"http://127.0.0.1:{self.client_port}", self.name, name)


@pytest.fixture
def ministries(network: Network) -> Iterator[list[Ministry]]:
    ports = {address: free_port(here) for address, here in ADDRESSES.items()}
    ministries = [Ministry(network.folder / name, ports, name == NAMES[0]) for name in NAMES]
    yield ministries
    for ministry in ministries:
        if ministry.process is not None:
            ministry.process.stop()


def test_two_ministries_are_set_up_by_the_guide(ministries: list[Ministry]) -> None:
    section = GUIDE.read_text().partition("## Step by step")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(?:sh|toml)\n(.*?)```", section, flags=re.S)
    authority, request, sign, settings, check, try_it = blocks
    first, second = ministries
    for ministry in ministries:
        etc = ministry.folder / "etc"
        etc.mkdir()
        if ministry is first:
            ministry.run(authority)
        else:
            # What the authority signs goes to and fro; here both have its files.
            for file in ("ca.crt", "ca.key"):
                (etc / file).write_bytes((first.folder / "etc" / file).read_bytes())
        ministry.run(request)
        ministry.run(sign)
        (etc / "chancery.toml").write_text(ministry.adapt(settings))
        ministry.run(check)
        ministry.start()
    for ministry, other in ((first, second), (second, first)):
        assert f'"server_name":"{other.name}"' in ministry.run(try_it).replace(" ", "")

    alice, bob = first.user("alice"), second.user("bob")
    room_id = alice.create_room("12", preset="private_chat", invite=[bob.user_id])
    bob.until_invited(room_id)
    bob.join(room_id)
    alice.until_event(room_id, bob.send(room_id, "Good morning"))
    bob.until_event(room_id, alice.send(room_id, "Good morning"))
    agree(room_id, alice, bob)
