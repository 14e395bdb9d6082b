"""Memberships of users of one server in rooms of another."""

import pytest
from conftest import PAIRS
from harness.agreement import agree
from harness.server import Server
from harness.user import Refused, User
from harness.waiting import until

VERSIONS = ["6", "12"]
# Knocking came with version 7, restricted rooms with 8.
KNOCKING = ["7", "12"]
RESTRICTED = ["8", "12"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_invitation_is_accepted(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat", name="Tea")
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        bob.join(room_id, alice)
    alice.invite(room_id, bob)
    stripped = bob.until_invited(room_id)
    assert {"name": "Tea"} in [event["content"] for event in stripped]
    bob.join(room_id)
    alice.until_membership(room_id, bob, "join")
    alice.until_event(room_id, bob.send(room_id, "thank you"))
    agree(room_id, alice, bob)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_invitation_is_rejected(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat", invite=[bob.user_id])
    bob.until_invited(room_id)
    bob.leave(room_id)
    alice.until_membership(room_id, bob, "leave")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_invitation_is_withdrawn(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat", invite=[bob.user_id])
    bob.until_invited(room_id)
    alice.kick(room_id, bob, "a mistake")
    bob.until_left(room_id, "a mistake")
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        bob.join(room_id, alice)


# Synapse neither tells nor believes that.
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "synapse" not in pair], ids="-".join, indirect=True)
@pytest.mark.parametrize("version", KNOCKING)
def test_a_knock_is_turned_down(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat")
    alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    bob.knock(room_id, alice, "please")
    alice.until_membership(room_id, bob, "knock")
    alice.kick(room_id, bob, "no")
    bob.until_left(room_id, "no")


@pytest.mark.parametrize("version", KNOCKING)
def test_a_knock_is_answered(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat")
    alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        bob.join(room_id, alice)
    bob.knock(room_id, alice, "may I?")
    knock = alice.until_membership(room_id, bob, "knock")
    assert knock["content"]["reason"] == "may I?"
    alice.invite(room_id, bob)
    bob.until_invited(room_id)
    bob.join(room_id)
    alice.until_membership(room_id, bob, "join")
    agree(room_id, alice, bob)


# Synapse tells nobody that a user of its own no longer knocks.
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] != "synapse"], ids="-".join, indirect=True)
@pytest.mark.parametrize("version", KNOCKING)
def test_a_knock_is_withdrawn(alice: User, bob: User, version: str) -> None:
    room_id = alice.create_room(version, preset="private_chat")
    alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    bob.knock(room_id, alice, "once")
    alice.until_membership(room_id, bob, "knock")
    bob.leave(room_id)
    alice.until_membership(room_id, bob, "leave")


@pytest.mark.parametrize("version", RESTRICTED)
def test_members_of_another_room_join_a_restricted_room(
    alice: User, bob: User, there: Server, version: str
) -> None:
    space = alice.create_room(version, creation_content={"type": "m.space"})
    levels = {"invite": 50}
    room_id = alice.create_room(version, preset="private_chat", power_level_content_override=levels)
    allow = [{"type": "m.room_membership", "room_id": space}]
    alice.set_state(room_id, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    with pytest.raises(Refused, match="M_FORBIDDEN"):
        bob.join(room_id, alice)

    bob.join(space, alice)
    alice.until_membership(space, bob, "join")
    bob.join(room_id, alice)
    alice.until_membership(room_id, bob, "join")
    # Now the other server takes part in both rooms, but none of its users may let others in.
    carol = there.register("carol")
    carol.join(space, alice)
    alice.until_membership(space, carol, "join")
    carol.join(room_id, alice)
    joined = alice.until_membership(room_id, carol, "join")
    assert joined["content"]["join_authorised_via_users_server"] == alice.user_id
    agree(room_id, alice, bob)
    agree(space, alice, bob)


@pytest.mark.parametrize("version", VERSIONS)
def test_kicks_bans_and_unbans(alice: User, bob: User, there: Server, version: str) -> None:
    room_id = alice.create_room(version)
    carol = there.register("carol")
    for user in (bob, carol):
        user.join(room_id, alice)
        alice.until_membership(room_id, user, "join")

    alice.kick(room_id, bob, "bedtime")
    kicked = carol.until_membership(room_id, bob, "leave")
    assert kicked["content"]["reason"] == "bedtime"
    bob.join(room_id, alice)
    # A ban beside the join would leave it to state resolution what is true after it.
    until("the second join", lambda: alice.membership(room_id, bob) == "join")
    carol.until_event(room_id, alice.send(room_id, "he is back"))

    alice.ban(room_id, bob, "enough")
    carol.until_membership(room_id, bob, "ban")
    with pytest.raises(Refused, match="403"):
        bob.join(room_id, alice)
    alice.unban(room_id, bob)
    carol.until_event(room_id, alice.send(room_id, "he may come again"))
    assert carol.membership(room_id, bob) == "leave"
    bob.join(room_id, alice)
    agree(room_id, alice, bob, carol)
