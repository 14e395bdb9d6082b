"""Two processes of one server, on one database, that federate with a Synapse."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from conftest import Network
from harness.agreement import agree
from harness.chancery import Chancery, SecondProcess
from harness.synapse import Synapse
from harness.user import User

COUNT = 60
# What the killed process did is taken over when PostgreSQL has ended its session.
TAKEOVER_SECONDS = 60


@pytest.fixture
def first(network: Network) -> Iterator[Chancery]:
    network.postgres.create_database("shared")
    url = network.postgres.url("shared")
    server = Chancery(network.folder / "shared", "127.0.0.60", network.authority, CHANCERY_DATABASE_URL=url)
    yield server
    server.stop()
    server.link.close()


@pytest.fixture
def second(first: Chancery) -> Iterator[SecondProcess]:
    process = SecondProcess(first)
    yield process
    process.process.stop()


def test_one_of_two_processes_is_killed_under_load(
    network: Network, first: Chancery, second: SecondProcess
) -> None:
    alice, carol = first.register("alice"), first.register("carol")
    synapse = network.server("synapse")
    assert isinstance(synapse, Synapse)
    bob = synapse.register("bob")
    room_id = alice.create_room("12")
    alice_at_second, carol_at_second = alice.at(second.clients_url), carol.at(second.clients_url)
    carol_at_second.join(room_id)
    bob.join(room_id, alice)
    for user in (alice, carol_at_second):
        user.until_membership(room_id, bob, "join")

    def alice_writes() -> list[str]:
        """Half at the process that is killed then; what is not acknowledged is no more than tried."""
        sent = [alice.send(room_id, f"alice {number}") for number in range(COUNT // 2)]
        first.kill()
        with suppress(httpx.TransportError):
            alice.send(room_id, "nobody listens")
        return sent + [alice_at_second.send(room_id, f"alice {number}") for number in range(COUNT // 2, COUNT)]

    def write(user: User, name: str) -> list[str]:
        return [user.send(room_id, f"{name} {number}") for number in range(COUNT)]

    with ThreadPoolExecutor() as writers:
        writing = [
            writers.submit(alice_writes),
            writers.submit(write, carol_at_second, "carol"),
            writers.submit(write, bob, "bob"),
        ]
        by_bob = writing[2].result()
        sent = [event_id for each in writing for event_id in each.result()]

    alice_at_second.until_event(room_id, bob.send(room_id, "the end"))
    sent.append(alice_at_second.send(room_id, "indeed"))
    bob.until_event(room_id, sent[-1], TAKEOVER_SECONDS)
    for user in (bob, alice_at_second):
        texts = user.texts(room_id)
        for name in ("alice", "bob", "carol"):
            assert [text for text in texts if text.startswith(name)] == [f"{name} {number}" for number in range(COUNT)]
    agree(room_id, alice_at_second, bob)
    received = synapse.received_events(room_id)
    assert len(received) == len(set(received)), "an event was sent twice"
    assert {event_id for event_id in sent if event_id not in by_bob} <= set(received)
