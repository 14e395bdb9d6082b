"""A PostgreSQL for servers that do not manage one themselves."""

import shutil
import signal
import subprocess
from pathlib import Path

from .process import Process, unprivileged

# The data lives as long as the test run; nothing is lost by not waiting for the disk.
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
fsync = off
"""


class Postgres:
    """A private cluster that listens on a socket in its folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.user = unprivileged()
        if self.user is not None:
            shutil.chown(folder, self.user)
        self.programs = programs()
        data = folder / "data"
        self._run("initdb", "-D", str(data), "-U", "peers", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        (data / "postgresql.auto.conf").write_text(SETTINGS.format(folder=folder))
        command = [str(self.programs / "postgres"), "-D", str(data)]
        self.process = Process(command, folder.parent / "postgres.log", self._is_ready, user=self.user)

    def create_database(self, name: str) -> None:
        """Creates an empty database as Synapse wants it."""
        statement = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
        self._run("psql", "-h", str(self.folder), "-U", "peers", "-d", "postgres", "-qc", statement)

    def url(self, database: str) -> str:
        """Where a server finds a database."""
        return f"postgres:///{database}?host={self.folder}&user=peers"

    def stop(self) -> None:
        """Stops the cluster without waiting for its clients."""
        self.process.stop(signal.SIGINT)

    def _is_ready(self) -> bool:
        return self._call("pg_isready", "-q", "-h", str(self.folder)).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = self._call(program, *arguments)
        assert done.returncode == 0, f"{program}: {done.stderr}"

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.programs / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, user=self.user, cwd=self.folder)


def programs() -> Path:
    """The folder of the newest installed PostgreSQL's programs."""
    folders = [file.parent for file in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda folder: int(folder.parent.name))
    found = shutil.which("initdb")
    assert found, "PostgreSQL is not installed (on Debian: apt-get install postgresql)"
    return Path(found).resolve().parent
