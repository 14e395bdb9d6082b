"""Devices of users of another server: their keys, their lists, messages to them."""

import itertools

import pytest
from conftest import PAIRS
from harness.server import Server
from harness.user import Json, User
from harness.waiting import until
from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

CURVE_KEY = encode_base64(bytes(range(32)))
ONE_TIME_KEY = "signed_curve25519:AAAA"

COUNT = 10

numbers = itertools.count(1)


def upload_keys(user: User) -> Json:
    """Publishes device keys and a one-time key, and returns the device keys."""
    signer = generate_signing_key(user.device_id)
    device_keys = {
        "user_id": user.user_id,
        "device_id": user.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            f"curve25519:{user.device_id}": CURVE_KEY,
            f"ed25519:{user.device_id}": encode_verify_key_base64(get_verify_key(signer)),
        },
    }
    request = {
        "device_keys": sign_json(device_keys, user.user_id, signer),
        "one_time_keys": {ONE_TIME_KEY: sign_json({"key": CURVE_KEY}, user.user_id, signer)},
    }
    user.post("keys/upload", request)
    return device_keys


def exchange(sender: User, receiver: User) -> list[int]:
    """Sends numbers to a device, and returns them as they arrive."""
    for number in range(COUNT):
        messages = {receiver.user_id: {receiver.device_id: {"number": number}}}
        sender.put(f"sendToDevice/org.example.number/{next(numbers)}", {"messages": messages})
    received: list[int] = []

    def collect(response: Json) -> bool:
        events = response.get("to_device", {}).get("events", [])
        received.extend(event["content"]["number"] for event in events if event["sender"] == sender.user_id)
        return len(received) >= COUNT

    receiver.until(f"{COUNT} messages", collect)
    return received


def test_messages_to_devices_arrive_once(alice: User, bob: User) -> None:
    assert sorted(exchange(alice, bob)) == list(range(COUNT))


# Synapse takes in what is in one transaction in any order.
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] != "synapse"], ids="-".join, indirect=True)
def test_messages_to_devices_arrive_in_order(alice: User, bob: User) -> None:
    assert exchange(alice, bob) == list(range(COUNT))


def query(user: User, owner: User) -> Json | None:
    """The keys of another user's device, as far as the user's server knows them."""
    found = user.post("keys/query", {"device_keys": {owner.user_id: []}})
    if found.get("failures"):
        # Synapse names the other server among them while it reads a list anew.
        return None
    return found["device_keys"][owner.user_id].get(owner.device_id)


def test_keys_are_queried_and_claimed(alice: User, bob: User) -> None:
    alice.meet(bob)
    for owner, other in ((alice, bob), (bob, alice)):
        device_keys = upload_keys(owner)
        keys = until("the keys of the device", lambda owner=owner, other=other: query(other, owner))
        assert keys["keys"] == device_keys["keys"]
        wanted = {"one_time_keys": {owner.user_id: {owner.device_id: "signed_curve25519"}}}
        claimed = other.post("keys/claim", wanted)["one_time_keys"]
        assert claimed[owner.user_id][owner.device_id][ONE_TIME_KEY]["key"] == CURVE_KEY
        assert other.post("keys/claim", wanted)["one_time_keys"].get(owner.user_id, {}) == {}


def test_changed_device_lists_are_told(alice: User, bob: User) -> None:
    alice.meet(bob)
    for owner, other in ((alice, bob), (bob, alice)):
        other.sync()
        other.forget()
        upload_keys(owner)
        other.until("the new device", lambda sync: owner.user_id in sync.get("device_lists", {}).get("changed", []))
        # The list may have been told of before, on joining.
        until("the keys of the device", lambda owner=owner, other=other: query(other, owner))


def test_a_server_that_was_away_learns_of_new_devices(alice: User, bob: User, there: Server) -> None:
    alice.meet(bob)
    bob.sync()
    bob.forget()
    there.stop()
    try:
        upload_keys(alice)
        messages = {bob.user_id: {bob.device_id: {"number": 1}}}
        alice.put(f"sendToDevice/org.example.number/{next(numbers)}", {"messages": messages})
    finally:
        there.start()
    bob.until("the new device", lambda sync: alice.user_id in sync.get("device_lists", {}).get("changed", []))
    bob.until("the message", lambda sync: sync.get("to_device", {}).get("events"))
    until("the keys of the device", lambda: query(bob, alice))
