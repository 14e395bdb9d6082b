"""Rooms of which a server learns most members after one of its users has joined."""

import pytest
from conftest import PAIRS
from harness.agreement import agree
from harness.server import Server
from harness.user import User

MEMBERS = 12
# The server that joins is ours.
JOINING = [pair for pair in PAIRS if pair[1] != "synapse"]


def crowded_room(alice: User, here: Server) -> tuple[str, set[str]]:
    """A room of Alice's that other users of her server are in."""
    room_id = alice.create_room("11")
    others = [here.register("other") for _ in range(MEMBERS)]
    for other in others:
        other.join(room_id)
    return room_id, {alice.user_id} | {other.user_id for other in others}


def joined_members(user: User, room_id: str) -> set[str]:
    """The members of a room; waits until all are known."""
    return set(user.get(f"rooms/{room_id}/joined_members")["joined"])


@pytest.mark.parametrize("pair", JOINING, ids="-".join, indirect=True)
def test_who_joins_speaks_at_once_and_all_members_are_known_later(alice: User, bob: User, here: Server) -> None:
    room_id, members = crowded_room(alice, here)
    bob.join(room_id, alice)
    said = bob.send(room_id, "good morning")
    alice.until_event(room_id, said)
    assert joined_members(bob, room_id) == members | {bob.user_id}
    bob.until_event(room_id, alice.send(room_id, "welcome"))
    agree(room_id, alice, bob)


@pytest.mark.parametrize("pair", JOINING, ids="-".join, indirect=True)
def test_members_are_fetched_after_a_kill(alice: User, bob: User, here: Server, there: Server) -> None:
    room_id, members = crowded_room(alice, here)
    bob.join(room_id, alice)
    here.link.cut()
    try:
        said = bob.send(room_id, "is anybody there?")
        there.kill()
        there.start()
    finally:
        here.link.restore()
    alice.until_event(room_id, said)
    assert joined_members(bob, room_id) == members | {bob.user_id}
    bob.until_event(room_id, alice.send(room_id, "we are"))
    agree(room_id, alice, bob)
