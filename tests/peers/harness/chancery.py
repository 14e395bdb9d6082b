"""A Chancery process with a PostgreSQL that it manages itself."""

import os
from pathlib import Path

from .authority import Authority
from .link import Link, free_port
from .process import Process
from .server import Server, answers

BINARY = os.environ.get("CHANCERY_BINARY", "")


class Chancery(Server):
    """Named by its address, so that the Synapse finds it."""

    def __init__(self, folder: Path, address: str, authority: Authority, **more: str):
        link = Link(address)
        client_port = free_port("127.0.0.1")
        super().__init__(folder, f"{address}:{link.port}", link, client_port)
        folder.mkdir()
        folder.chmod(0o755)
        certificate, key = authority.certify(address)
        self.settings = {
            "CHANCERY_SERVER_NAME": self.name,
            "CHANCERY_DATA_DIR": str(folder / "data"),
            "CHANCERY_LISTEN": f"127.0.0.1:{client_port}",
            "CHANCERY_REGISTRATION": "open",
            "CHANCERY_RATE_LIMITS": "off",
            "CHANCERY_FEDERATION_MODE": "open",
            "CHANCERY_FEDERATION_LISTEN": "{}:{}".format(*link.behind[0]),
            "CHANCERY_FEDERATION_CERTIFICATE_FILE": str(certificate),
            "CHANCERY_FEDERATION_PRIVATE_KEY_FILE": str(key),
            "CHANCERY_FEDERATION_CA_FILE": str(authority.certificate),
            "CHANCERY_FEDERATION_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
            "CHANCERY_FEDERATION_PUBLIC_ROOMS": "true",
            "CHANCERY_FEDERATION_MAX_RETRY_INTERVAL": "1s",
            "CHANCERY_LOG_FILTER": "info,federation=debug,delivery=debug",
        }
        self.settings.update(more)
        self.start()

    def launch(self) -> Process:
        environment = {"PATH": os.environ["PATH"], **self.settings}
        log = self.folder / "chancery.log"
        return Process([BINARY, "serve"], log, lambda: self.answers("/ready"), environment)


class SecondProcess:
    """Another process of a server, on the same database."""

    def __init__(self, first: Chancery):
        self.log = first.folder / "second.log"
        client_port = free_port("127.0.0.1")
        self.clients_url = f"http://127.0.0.1:{client_port}"
        listen = (first.link.address, free_port(first.link.address))
        self.settings = {
            **first.settings,
            "CHANCERY_LISTEN": f"127.0.0.1:{client_port}",
            "CHANCERY_FEDERATION_LISTEN": "{}:{}".format(*listen),
        }
        first.link.behind.append(listen)
        environment = {"PATH": os.environ["PATH"], **self.settings}
        self.process = Process([BINARY, "serve"], self.log, self._is_ready, environment)

    def _is_ready(self) -> bool:
        return answers(f"{self.clients_url}/ready")
