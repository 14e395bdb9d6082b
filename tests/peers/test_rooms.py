"""Rooms that users of two servers are in."""

import pytest
from harness.agreement import agree
from harness.user import User

VERSIONS = ["6", "10", "11", "12"]


@pytest.mark.parametrize("version", VERSIONS)
def test_messages_go_both_ways(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, name="Tea", topic="Leaves")
    assert bob.join(room_id, alice) == room_id
    alice.until_membership(room_id, bob, "join")

    for round in range(3):
        alice.until_event(room_id, bob.send(room_id, f"ping {round}"))
        bob.until_event(room_id, alice.send(room_id, f"pong {round}"))

    expected = [f"{word} {round}" for round in range(3) for word in ("ping", "pong")]
    assert alice.texts(room_id) == bob.texts(room_id) == expected
    assert bob.state(room_id, "m.room.name") == {"name": "Tea"}
    agree(room_id, alice, bob)

    bob.leave(room_id)
    alice.until_membership(room_id, bob, "leave")


# Since version 12 nobody's level is that of the creators.
@pytest.mark.parametrize("version", ["10", "12"])
def test_state_and_power_levels_are_obeyed_by_both(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version)
    bob.join(room_id, alice)
    levels = bob.state(room_id, "m.room.power_levels")
    promoted = {**levels.get("users", {}), bob.user_id: 50}
    bob.until_event(room_id, alice.change_state(room_id, "m.room.power_levels", users=promoted))

    alice.until_event(room_id, bob.set_state(room_id, "m.room.name", {"name": "Bob's"}))
    alice.until_event(room_id, bob.set_state(room_id, "org.example.note", {"text": "state"}, "key"))
    assert alice.state(room_id, "m.room.name") == {"name": "Bob's"}
    assert alice.state(room_id, "org.example.note", "key") == {"text": "state"}
    agree(room_id, alice, bob)


# Since version 11 the redacted event is named in the content, and other fields survive.
@pytest.mark.parametrize("version", ["10", "11"])
def test_redactions_take_the_content_away(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version)
    bob.join(room_id, alice)
    for author, reader in ((alice, bob), (bob, alice)):
        said = author.send(room_id, "too much")
        reader.until_event(room_id, said)
        reader.until_event(room_id, author.redact(room_id, said))
        assert reader.get(f"rooms/{room_id}/event/{said}")["content"] == {}
    # The creator may redact what others have said.
    said = bob.send(room_id, "far too much")
    alice.until_event(room_id, said)
    bob.until_event(room_id, alice.redact(room_id, said))
    assert bob.get(f"rooms/{room_id}/event/{said}")["content"] == {}
    agree(room_id, alice, bob)
