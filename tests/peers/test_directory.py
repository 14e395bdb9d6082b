"""What servers tell each other of their users and rooms."""

from urllib.parse import quote

import pytest
from harness.agreement import agree
from harness.user import Refused, User
from harness.waiting import until


def test_the_profile_of_a_remote_user_is_seen(alice: User, bob: User) -> None:
    name = f"profile/{bob.user_id}/displayname"
    bob.put(name, {"displayname": "Bob the Builder"})
    assert alice.get(name) == {"displayname": "Bob the Builder"}
    bob.put(f"profile/{bob.user_id}/avatar_url", {"avatar_url": "mxc://example.org/face"})
    profile = alice.get(f"profile/{bob.user_id}")
    assert profile["displayname"] == "Bob the Builder"
    assert profile["avatar_url"] == "mxc://example.org/face"
    with pytest.raises(Refused, match="404"):
        alice.get(f"profile/@nobody:{bob.server_name}")


def test_a_changed_name_reaches_the_rooms_of_the_other_server(alice: User, bob: User) -> None:
    room_id = alice.create_room()
    bob.join(room_id, alice)
    bob.put(f"profile/{bob.user_id}/displayname", {"displayname": "Robert"})
    until(
        "the new name in the room",
        lambda: alice.state(room_id, "m.room.member", bob.user_id).get("displayname") == "Robert",
    )
    agree(room_id, alice, bob)


def test_a_room_is_joined_by_its_alias(alice: User, bob: User) -> None:
    local = alice.user_id.removeprefix("@").partition(":")[0]
    room_id = alice.create_room(room_alias_name=local)
    alias = f"#{local}:{alice.server_name}"
    found = bob.get(f"directory/room/{quote(alias)}")
    assert found["room_id"] == room_id
    assert alice.server_name in found["servers"]
    assert bob.join(alias) == room_id
    agree(room_id, alice, bob)

    alice.request("DELETE", f"directory/room/{quote(alias)}")
    with pytest.raises(Refused, match="M_NOT_FOUND"):
        bob.get(f"directory/room/{quote(alias)}")


def test_the_public_rooms_of_the_other_server_are_listed(alice: User, bob: User) -> None:
    room_id = alice.create_room(name="Open house", topic="Come in", visibility="public")
    listed = until("the room in the list", lambda: room_of(bob, alice, room_id))
    assert (listed["name"], listed["topic"], listed["num_joined_members"]) == ("Open house", "Come in", 1)
    found = bob.post("publicRooms", {"filter": {"generic_search_term": "open house"}}, server=alice.server_name)
    assert room_id in [room["room_id"] for room in found["chunk"]]


def room_of(user: User, other: User, room_id: str) -> dict | None:
    rooms = user.get("publicRooms", server=other.server_name, limit=500)["chunk"]
    return next((room for room in rooms if room["room_id"] == room_id), None)


def test_a_space_is_walked_through(alice: User, bob: User) -> None:
    space = alice.create_room(creation_content={"type": "m.space"}, name="Space")
    rooms = [alice.create_room(name=f"Room {number}") for number in range(2)]
    hidden = alice.create_room(name="Hidden", preset="private_chat")
    for room_id in [*rooms, hidden]:
        alice.set_state(space, "m.space.child", {"via": [alice.server_name]}, room_id)
    bob.join(space, alice)
    hierarchy = bob.request("GET", f"rooms/{quote(space)}/hierarchy", version="v1")
    found = {room["room_id"]: room.get("name") for room in hierarchy["rooms"]}
    assert found == {space: "Space", rooms[0]: "Room 0", rooms[1]: "Room 1"}
