"""The line by which a server is reached by the others: a forwarder of TCP connections that tests can cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# More than a TLS handshake, less than a request with a long message.
LONG_BYTES = 10_000


class Link:
    """Listens on an address and forwards connections to a server that may come and go behind it."""

    def __init__(self, address: str):
        self.listener = socket.create_server((address, 0))
        self.address = address
        self.port: int = self.listener.getsockname()[1]
        # Where the server itself listens; where its processes do, if there are several.
        self.behind = [(address, free_port(address))]
        self.lock = threading.Lock()
        self.is_cut = False
        self.loses_answers = False
        # Whether an answer was lost since `lose_answers`.
        self.has_lost = threading.Event()
        self.open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends all connections and refuses new ones."""
        with self.lock:
            self.is_cut = True
            for connection in self.open:
                shut(connection)

    def lose_answers(self) -> None:
        """From now on long requests arrive, but a connection ends instead of bringing the answer."""
        self.has_lost.clear()
        self.loses_answers = True

    def restore(self) -> None:
        """Forwards everything again."""
        with self.lock:
            self.is_cut = self.loses_answers = False

    def close(self) -> None:
        """Ends everything for good."""
        self.cut()
        shut(self.listener)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                incoming, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(incoming,), daemon=True).start()

    def _forward(self, incoming: socket.socket) -> None:
        with incoming, suppress(OSError), self._connect() as outgoing:
            with self._admitted(incoming, outgoing):
                pipe = _Pipe(self, incoming, outgoing)
                back = threading.Thread(target=pipe.carry_answers, daemon=True)
                back.start()
                pipe.carry_requests()
                back.join()

    def _connect(self) -> socket.socket:
        """A connection to the next process that listens."""
        with self.lock:
            self.behind.append(self.behind.pop(0))
            behind = list(self.behind)
        for address in behind[:-1]:
            with suppress(OSError):
                return socket.create_connection(address)
        return socket.create_connection(behind[-1])

    @contextmanager
    def _admitted(self, *connections: socket.socket) -> Iterator[None]:
        """Keeps connections where a cut finds them."""
        with self.lock:
            if self.is_cut:
                raise ConnectionRefusedError
            self.open.update(connections)
        try:
            yield
        finally:
            with self.lock:
                self.open.difference_update(connections)


class _Pipe:
    """Both directions of one connection."""

    def __init__(self, link: Link, client: socket.socket, server: socket.socket):
        self.link, self.client, self.server = link, client, server
        self.requested_bytes = 0

    def carry_requests(self) -> None:
        with suppress(OSError):
            while data := self.client.recv(65536):
                self.requested_bytes += len(data)
                self.server.sendall(data)
        self._end()

    def carry_answers(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(65536):
                if self.link.loses_answers and self.requested_bytes > LONG_BYTES:
                    self.link.has_lost.set()
                    break
                self.client.sendall(data)
        self._end()

    def _end(self) -> None:
        shut(self.client)
        shut(self.server)


def shut(connection: socket.socket) -> None:
    """Wakes whoever reads from the socket; they close it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def free_port(address: str) -> int:
    """A port that is free now; nothing else on the machine listens on the addresses of the tests."""
    with socket.create_server((address, 0)) as listener:
        return listener.getsockname()[1]
