"""Receipts, typing and presence of users of another server."""

from harness.user import Json, User


def meet(alice: User, bob: User) -> str:
    room_id = alice.meet(bob)
    # Before it has the whole state Synapse shows nothing of the room, and nothing ephemeral later.
    bob.until_membership(room_id, bob, "join")
    return room_id


def test_receipts_reach_the_other_server(alice: User, bob: User) -> None:
    room_id = meet(alice, bob)
    for author, reader in ((alice, bob), (bob, alice)):
        event_id = author.send(room_id, "read this")
        reader.until_event(room_id, event_id)
        reader.post(f"rooms/{room_id}/receipt/m.read/{event_id}")
        receipt = author.until_ephemeral(
            room_id, "m.receipt", lambda content: content.get(event_id, {}).get("m.read", {}).get(reader.user_id)
        )
        assert receipt["ts"] > 0


def test_a_receipt_in_a_thread_says_which(alice: User, bob: User) -> None:
    room_id = meet(alice, bob)
    root = alice.send(room_id, "root")
    relation = {"rel_type": "m.thread", "event_id": root}
    reply = alice.send_event(
        room_id, "m.room.message", {"msgtype": "m.text", "body": "reply", "m.relates_to": relation}
    )
    bob.until_event(room_id, reply)
    bob.post(f"rooms/{room_id}/receipt/m.read/{reply}", {"thread_id": root})
    receipt = alice.until_ephemeral(
        room_id, "m.receipt", lambda content: content.get(reply, {}).get("m.read", {}).get(bob.user_id)
    )
    assert receipt["thread_id"] == root


def test_typing_begins_and_ends_on_the_other_server(alice: User, bob: User) -> None:
    room_id = meet(alice, bob)
    for typist, reader in ((alice, bob), (bob, alice)):
        path = f"rooms/{room_id}/typing/{typist.user_id}"

        def types(content: Json) -> bool:
            return content["user_ids"] == [typist.user_id]

        typist.put(path, {"typing": True, "timeout": 30_000})
        reader.until_ephemeral(room_id, "m.typing", types)
        reader.forget()
        typist.put(path, {"typing": False})
        reader.until_ephemeral(room_id, "m.typing", lambda content: content["user_ids"] == [])


def test_presence_reaches_the_other_server(alice: User, bob: User) -> None:
    meet(alice, bob)
    for user, reader in ((alice, bob), (bob, alice)):
        path = f"presence/{user.user_id}/status"
        for presence, status in (("online", "at work"), ("unavailable", "at lunch")):
            user.put(path, {"presence": presence, "status_msg": status})
            content = reader.until_presence(
                user,
                lambda content: (content["presence"], content.get("status_msg")) == (presence, status) and content,
            )
            assert content["last_active_ago"] >= 0
            assert content.get("currently_active", False) == (presence == "online")
        user.put(path, {"presence": "offline"})
        reader.until_presence(user, lambda content: content["presence"] == "offline")
