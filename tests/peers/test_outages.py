"""Servers that are away for a while, or end in the midst of what they do."""

from signal import SIGCONT, SIGSTOP

from harness.agreement import agree
from harness.server import Server
from harness.user import User

# Longer than what a link lets pass before it loses the answer.
LONG_TEXT = "long " * 5_000
BURST = 60


def meet(alice: User, bob: User) -> str:
    """A room of Alice's that Bob is in, of which both have read all."""
    room_id = alice.meet(bob)
    bob.until_event(room_id, alice.send(room_id, "hello"))
    alice.until_event(room_id, bob.send(room_id, "hello"))
    return room_id


def test_what_is_sent_while_a_server_is_stopped_arrives_in_order(alice: User, bob: User, there: Server) -> None:
    room_id = meet(alice, bob)
    there.stop()
    try:
        texts = [f"while you were away {number}" for number in range(BURST)]
        sent = [alice.send(room_id, text) for text in texts]
        alice.set_state(room_id, "m.room.topic", {"topic": "News"})
    finally:
        there.start()
    bob.until_event(room_id, sent[-1])
    assert bob.texts(room_id) == ["hello", "hello", *texts]
    alice.until_event(room_id, bob.send(room_id, "thank you"))
    agree(room_id, alice, bob)


def test_what_is_sent_while_a_server_stands_still_arrives_in_order(alice: User, bob: User, there: Server) -> None:
    room_id = meet(alice, bob)
    there.running.send_signal(SIGSTOP)
    try:
        texts = [f"are you there {number}" for number in range(5)]
        sent = [alice.send(room_id, text) for text in texts]
    finally:
        there.running.send_signal(SIGCONT)
    bob.until_event(room_id, sent[-1])
    assert bob.texts(room_id) == ["hello", "hello", *texts]
    agree(room_id, alice, bob)


def test_a_receiver_that_is_killed_gets_everything_once(alice: User, bob: User, there: Server) -> None:
    room_id = meet(alice, bob)
    texts = [f"message {number}" for number in range(BURST)]
    sent = [alice.send(room_id, text) for text in texts[: BURST // 2]]
    there.kill()
    sent += [alice.send(room_id, text) for text in texts[BURST // 2 :]]
    there.start()
    bob.until_event(room_id, sent[-1])
    assert bob.texts(room_id) == ["hello", "hello", *texts]
    agree(room_id, alice, bob)


def test_a_sender_that_is_killed_has_sent_everything_once(alice: User, bob: User, here: Server) -> None:
    room_id = meet(alice, bob)
    texts = [f"message {number}" for number in range(BURST)]
    sent = [alice.send(room_id, text) for text in texts]
    here.kill()
    here.start()
    # Somebody who was told that it is sent is not disappointed; one more wakes a server that waits for one.
    sent.append(alice.send(room_id, "I am back"))
    bob.until_event(room_id, sent[-1])
    assert bob.texts(room_id) == ["hello", "hello", *texts, "I am back"]
    agree(room_id, alice, bob)


def test_a_transaction_whose_answer_is_lost_is_taken_once(alice: User, bob: User, there: Server) -> None:
    room_id = meet(alice, bob)
    there.link.lose_answers()
    try:
        alice.send(room_id, LONG_TEXT)
        assert there.link.has_lost.wait(60), "no transaction was answered"
    finally:
        there.link.restore()
    last = alice.send(room_id, "short")
    bob.until_event(room_id, last)
    assert bob.texts(room_id) == ["hello", "hello", LONG_TEXT, "short"]
    agree(room_id, alice, bob)
