"""A Synapse, from the virtual environment that runs the tests."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from .authority import Authority
from .link import Link, free_port
from .postgres import Postgres
from .process import Process
from .server import Server

LOG = "synapse.log"
HERE = Path(__file__).parent


class Synapse(Server):
    """Named by its address, so that servers without static overrides find it."""

    def __init__(self, folder: Path, address: str, authority: Authority, postgres: Postgres):
        link = Link(address)
        client_port = free_port("127.0.0.1")
        super().__init__(folder, f"{address}:{link.port}", link, client_port)
        folder.mkdir()
        (folder / "media").mkdir()
        database = folder.name
        postgres.create_database(database)
        certificate, key = authority.certify(address)
        self.configuration = folder / "homeserver.yaml"
        self.configuration.write_text(
            (HERE / "synapse.yaml")
            .read_text()
            .format(
                name=self.name,
                folder=folder,
                client_port=client_port,
                address=address,
                port=link.behind[0][1],
                certificate=certificate,
                key=key,
                database=database,
                socket=postgres.folder,
                authority=authority.certificate,
            )
        )
        shutil.copy(HERE / "synapse-log.yaml", folder / "log.yaml")
        self._command("--generate-keys")
        self.start()

    def launch(self) -> Process:
        log = self.folder / LOG
        return Process(self._arguments(), log, lambda: self.answers("/health"))

    def received_events(self, room_id: str) -> list[str]:
        """The ids of the events of a room that other servers have sent, one for each time."""
        handled = rf"handling received PDU in room {re.escape(room_id)}: <Event event_id=([^,]+),"
        return re.findall(handled, (self.folder / LOG).read_text())

    def _command(self, argument: str) -> None:
        done = subprocess.run([*self._arguments(), argument], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def _arguments(self) -> list[str]:
        return [sys.executable, "-m", "synapse.app.homeserver", "-c", str(self.configuration)]
