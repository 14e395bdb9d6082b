"""The past of a room that a user of another server joins."""

from concurrent.futures import ThreadPoolExecutor

from harness.agreement import agree
from harness.user import User

EVENTS = 500


def test_the_history_before_the_join_is_read(alice: User, bob: User) -> None:
    room_id = alice.create_room()
    for number in range(EVENTS):
        alice.send(room_id, f"{number}")
    bob.join(room_id, alice)
    assert bob.texts(room_id) == [f"{number}" for number in range(EVENTS)]
    agree(room_id, alice, bob)


def test_an_event_is_found_by_its_time(alice: User, bob: User) -> None:
    room_id = alice.create_room()
    sent = [alice.send(room_id, f"{number}") for number in range(30)]
    bob.join(room_id, alice)
    at = alice.get(f"rooms/{room_id}/event/{sent[3]}")["origin_server_ts"]
    found = bob.request("GET", f"rooms/{room_id}/timestamp_to_event", ts=at, dir="f", version="v1")
    assert found["origin_server_ts"] >= at


def test_history_from_before_the_invitation_stays_hidden(alice: User, bob: User) -> None:
    room_id = alice.create_room(preset="private_chat")
    alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "invited"})
    alice.send(room_id, "a secret")
    alice.invite(room_id, bob)
    bob.until_invited(room_id)
    bob.join(room_id)
    alice.until_membership(room_id, bob, "join")
    bob.until_event(room_id, alice.send(room_id, "hello"))
    assert bob.texts(room_id) == ["hello"]


def test_many_write_at_the_same_time(alice: User, bob: User) -> None:
    room_id = alice.meet(bob)

    def write(user: User) -> list[str]:
        return [user.send(room_id, f"{number} of {user.user_id}") for number in range(40)]

    with ThreadPoolExecutor() as both:
        by_alice, by_bob = both.map(write, (alice, bob))
    for user in (alice, bob):
        for event_id in (by_alice[-1], by_bob[-1]):
            user.until_event(room_id, event_id)
        texts = user.texts(room_id)
        for author in (alice, bob):
            assert [text for text in texts if text.endswith(author.user_id)] == [
                f"{number} of {author.user_id}" for number in range(40)
            ]
    alice.until_event(room_id, bob.send(room_id, "that was it"))
    agree(room_id, alice, bob)
