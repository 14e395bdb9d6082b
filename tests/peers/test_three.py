"""Three servers: two of ours and a Synapse."""

import pytest
from conftest import Network
from harness.agreement import agree
from harness.user import User

SERVERS = [("chancery", "chancery_two", "synapse"), ("synapse", "chancery", "chancery_two")]


@pytest.fixture(params=SERVERS, ids="-".join)
def users(request: pytest.FixtureRequest, network: Network) -> list[User]:
    names = ("alice", "bob", "carol")
    return [network.server(server).register(name) for server, name in zip(request.param, names, strict=True)]


def test_all_hear_all(users: list[User]) -> None:
    alice, bob, carol = users
    room_id = alice.meet(bob, "12")
    # Through a server that has joined itself.
    carol.join(room_id, bob)
    for user in users:
        user.until_membership(room_id, carol, "join")
    for author in users:
        event_id = author.send(room_id, f"said by {author.user_id}")
        for user in users:
            user.until_event(room_id, event_id)
    agree(room_id, *users)


def test_what_one_missed_is_fetched_from_the_others(users: list[User], network: Network) -> None:
    alice, bob, carol = users
    room_id = alice.create_room("12")
    for user in (bob, carol):
        user.join(room_id, alice)
        alice.until_membership(room_id, user, "join")
    carol.until_event(room_id, alice.send(room_id, "hello"))
    carols = network.server_of(carol)
    carols.link.cut()
    try:
        missed = alice.send(room_id, "Carol does not hear me")
        alice.set_state(room_id, "m.room.name", {"name": "Changed meanwhile"})
        bob.until_event(room_id, missed)
    finally:
        carols.link.restore()
    bob.until_event(room_id, alice.set_state(room_id, "m.room.topic", {"topic": "Last"}))
    carol.until_event(room_id, bob.send(room_id, "I heard her"))
    carol.until_event(room_id, missed)
    agree(room_id, *users)


def test_the_room_outlives_the_server_that_made_it(users: list[User], network: Network) -> None:
    alice, bob, carol = users
    room_id = alice.meet(bob, "12")
    made_it = network.server_of(alice)
    made_it.link.cut()
    try:
        carol.join(room_id, alice, bob)
        bob.until_membership(room_id, carol, "join")
        bob.until_event(room_id, carol.send(room_id, "where is she?"))
    finally:
        made_it.link.restore()
    alice.until_membership(room_id, carol, "join")
    alice.until_event(room_id, bob.send(room_id, "there"))
    agree(room_id, *users)
