"""Encrypted messages between users of two servers, with the cryptography of a real client (matrix-nio)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from harness.user import User
from harness.waiting import DEADLINE_SECONDS
from nio import AsyncClient, AsyncClientConfig, Event, MatrixRoom, MegolmEvent, RoomMessageText
from nio.responses import ErrorResponse, Response

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class Device:
    """A user's client with its cryptographic store."""

    def __init__(self, user: User, store: Path):
        store.mkdir()
        url = str(user.http.base_url).removesuffix("/_matrix/")
        self.client = AsyncClient(
            url, user.user_id, user.device_id, str(store), AsyncClientConfig(encryption_enabled=True)
        )
        self.client.restore_login(user.user_id, user.device_id, user.token)
        self.texts: list[str] = []
        self.unreadable: list[str] = []
        self.client.add_event_callback(self._read, (RoomMessageText, MegolmEvent))

    async def _read(self, room: MatrixRoom, event: Event) -> None:
        if isinstance(event, RoomMessageText):
            assert event.decrypted, "it was sent in the clear"
            self.texts.append(event.body)
        elif isinstance(event, MegolmEvent):
            self.unreadable.append(event.event_id)

    async def sync(self) -> None:
        """Syncs once, and does what clients do with the keys then."""
        checked(await self.client.sync(timeout=1_000, full_state=self.client.next_batch is None))
        if self.client.should_upload_keys:
            checked(await self.client.keys_upload())
        if self.client.should_query_keys:
            checked(await self.client.keys_query())

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            await self.sync()

    async def say(self, room_id: str, text: str) -> None:
        content = {"msgtype": "m.text", "body": text}
        checked(await self.client.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))

    def knows_device_of(self, other: "Device") -> bool:
        return other.client.device_id in self.client.device_store[other.client.user_id]

    def knows_member(self, room_id: str, other: "Device") -> bool:
        room = self.client.rooms.get(room_id)
        return room is not None and room.encrypted and other.client.user_id in room.users


def checked(response: Response) -> None:
    assert not isinstance(response, ErrorResponse), response


def test_encrypted_messages_are_read_on_the_other_server(alice: User, bob: User, tmp_path: Path) -> None:
    room_id = alice.create_room("12", preset="private_chat", initial_state=[ENCRYPTION], invite=[bob.user_id])
    bob.until_invited(room_id)
    bob.join(room_id)
    alice.until_membership(room_id, bob, "join")

    async def converse() -> None:
        one, other = Device(alice, tmp_path / "alice"), Device(bob, tmp_path / "bob")
        try:
            await asyncio.wait_for(talk(one, other, room_id), DEADLINE_SECONDS)
        finally:
            await one.client.close()
            await other.client.close()

    asyncio.run(converse())


async def talk(one: Device, other: Device, room_id: str) -> None:
    for device, peer in ((one, other), (other, one)):
        await device.until(lambda device=device, peer=peer: device.knows_member(room_id, peer))
    for device, peer in ((one, other), (other, one)):
        await device.until(lambda device=device, peer=peer: device.knows_device_of(peer))
    for number in range(3):
        for device, peer in ((one, other), (other, one)):
            text = f"{number} of {device.client.user_id}"
            await device.say(room_id, text)
            await peer.until(lambda peer=peer, text=text: text in peer.texts)
    assert one.unreadable == other.unreadable == []
