"""Servers that cannot reach each other while users of both change the same rooms."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness.agreement import agree
from harness.server import Server
from harness.user import User


@contextmanager
def partition(*servers: Server) -> Iterator[None]:
    """Cuts all lines between the servers for a while."""
    for server in servers:
        server.link.cut()
    try:
        yield
    finally:
        for server in servers:
            server.link.restore()


def prepare(alice: User, bob: User, version: str, *others: User) -> str:
    """A room of Alice's in which Bob has power, too."""
    room_id = alice.create_room(version)
    for user in (bob, *others):
        user.join(room_id, alice)
    start = promote(alice, room_id, bob, 90)
    for user in (bob, *others):
        user.until_event(room_id, start)
    return room_id


def promote(alice: User, room_id: str, user: User, level: int) -> str:
    users = alice.state(room_id, "m.room.power_levels").get("users", {})
    return alice.change_state(room_id, "m.room.power_levels", users={**users, user.user_id: level})


def reunite(alice: User, bob: User, room_id: str) -> dict[tuple[str, str], str]:
    """The state that both servers agree on, after events that follow both branches."""
    bob.until_event(room_id, alice.send(room_id, "are you back?"))
    alice.until_event(room_id, bob.send(room_id, "I am"))
    state = agree(room_id, alice, bob)
    assert sorted(alice.texts(room_id)) == sorted(bob.texts(room_id))
    return state


@pytest.mark.parametrize("version", ["6", "12"])
def test_conflicting_changes_are_resolved_alike(
    alice: User, bob: User, here: Server, there: Server, version: str
) -> None:
    carol, dave = here.register("carol"), there.register("dave")
    room_id = prepare(alice, bob, version, carol, dave)
    with partition(here, there):
        for user, other in ((alice, dave), (bob, carol)):
            user.set_state(room_id, "m.room.topic", {"topic": f"set by {user.user_id}"})
            user.set_state(room_id, "org.example.own", {}, user.server_name)
            user.send(room_id, f"said by {user.user_id}")
            user.kick(room_id, other)
        last = bob.set_state(room_id, "m.room.name", {"name": "Bob's"})
        alice.send(room_id, "nobody hears me")

    state = reunite(alice, bob, room_id)
    # The later one of two changes, and all that only one side has changed.
    assert alice.state(room_id, "m.room.topic") == {"topic": f"set by {bob.user_id}"}
    assert state["m.room.name", ""] == last
    for user, other in ((alice, dave), (bob, carol)):
        assert ("org.example.own", user.server_name) in state
        assert alice.membership(room_id, other) == "leave"


@pytest.mark.parametrize("version", ["6", "12"])
def test_power_that_was_taken_away_counts_on_both_sides(
    alice: User, bob: User, here: Server, there: Server, version: str
) -> None:
    carol = here.register("carol")
    room_id = prepare(alice, bob, version, carol)
    with partition(here, there):
        promote(alice, room_id, bob, 0)
        named = alice.set_state(room_id, "m.room.name", {"name": "Alice's"})
        bob.set_state(room_id, "m.room.name", {"name": "Bob's"})
        bob.set_state(room_id, "m.room.topic", {"topic": "Bob's"})
        bob.kick(room_id, carol)

    state = reunite(alice, bob, room_id)
    assert alice.state(room_id, "m.room.power_levels")["users"][bob.user_id] == 0
    assert state["m.room.name", ""] == named
    assert ("m.room.topic", "") not in state
    assert alice.membership(room_id, carol) == "join"


def test_a_ban_holds_against_what_the_banned_do_meanwhile(
    alice: User, bob: User, here: Server, there: Server
) -> None:
    room_id = alice.create_room()
    carol = there.register("carol")
    for user in (bob, carol):
        user.join(room_id, alice)
    carol.until_event(room_id, alice.send(room_id, "hello"))

    with partition(here, there):
        alice.ban(room_id, bob)
        bob.send(room_id, "you cannot stop me")

    carol.until_membership(room_id, bob, "ban")
    alice.until_event(room_id, carol.send(room_id, "he is gone"))
    agree(room_id, alice, carol)
    assert "you cannot stop me" not in alice.texts(room_id)
