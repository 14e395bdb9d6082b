"""Rooms that move to another version."""

from harness.agreement import agree
from harness.user import User, room_events


def test_users_of_both_servers_follow_an_upgrade(alice: User, bob: User) -> None:
    old = alice.create_room("10", name="Tea")
    bob.join(old, alice)
    alice.until_membership(old, bob, "join")
    new = alice.post(f"rooms/{old}/upgrade", {"new_version": "12"})["replacement_room"]
    bob.until(
        "the tombstone",
        lambda sync: any(event["type"] == "m.room.tombstone" for event in room_events(sync, old)),
    )
    assert bob.state(old, "m.room.tombstone")["replacement_room"] == new
    bob.join(new, alice)
    alice.until_membership(new, bob, "join")
    assert bob.state(new, "m.room.create")["predecessor"]["room_id"] == old
    assert bob.state(new, "m.room.name") == {"name": "Tea"}
    for room_id in (old, new):
        agree(room_id, alice, bob)
