"""Programs that run beside the tests."""

import os
import pwd
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGTERM, Signals

from .waiting import until

STOP_SECONDS = 60


class Process:
    """A program in the background; its output goes to a log file."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ):
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=None if environment is None else dict(environment),
                user=user,
                process_group=0,
            )
        try:
            until(f"{command[0]} is ready", lambda: self._check() and ready())
        except BaseException:
            self.kill()
            raise

    def _check(self) -> bool:
        if self.child.poll() is not None:
            raise AssertionError(f"{self.child.args} ended early, see {self.log}:\n{tail(self.log)}")
        return True

    def send_signal(self, number: Signals) -> None:
        """Sends a signal to the program alone, not to what it has started."""
        self.child.send_signal(number)

    def stop(self, number: Signals = SIGTERM) -> None:
        """Asks the program to stop, and waits until it has; to be killed is a failure."""
        if self.child.poll() is not None:
            return
        self.send_signal(number)
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.child.args} did not stop, see {self.log}") from None

    def kill(self) -> None:
        """Ends the program as a power cut would."""
        self.child.kill()
        self.child.wait()


def unprivileged() -> str | None:
    """The user to run PostgreSQL as, which refuses to run as root; none if we are not root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def tail(file: Path, lines: int = 30) -> str:
    """The last lines of a text file."""
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else ""
