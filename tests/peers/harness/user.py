"""A user with a minimal client."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from .waiting import DEADLINE_SECONDS

Json = dict[str, Any]
T = TypeVar("T")

# Long enough that no timeline of a test has a gap.
FILTER = '{"room":{"timeline":{"limit":1000}}}'
POLL_MILLISECONDS = 10_000


class Refused(Exception):
    """A request that was answered with an error."""

    def __init__(self, status: int, body: Json):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body
        self.errcode = body.get("errcode")


class User:
    """Acts by the client-server API, and keeps all that `/sync` has brought."""

    transactions = itertools.count(1)

    def __init__(self, url: str, server_name: str, user_id: str, device_id: str, token: str):
        self.server_name, self.user_id, self.device_id = server_name, user_id, device_id
        self.http = httpx.Client(
            base_url=url + "/_matrix/", headers={"Authorization": f"Bearer {token}"}, timeout=DEADLINE_SECONDS
        )
        self.token = token
        self.since: str | None = None
        self.syncs: list[Json] = []

    def at(self, url: str) -> "User":
        """The same device at another process of the server."""
        return User(url, self.server_name, self.user_id, self.device_id, self.token)

    # Requests

    def request(
        self, method: str, path: str, body: Json | None = None, version: str = "v3", **parameters: Any
    ) -> Any:
        """The JSON answer of an endpoint of the client-server API; raises `Refused`."""
        return checked(self.http.request(method, f"client/{version}/{path}", json=body, params=parameters)).json()

    def get(self, path: str, **parameters: Any) -> Any:
        return self.request("GET", path, **parameters)

    def post(self, path: str, body: Json | None = None, **parameters: Any) -> Any:
        return self.request("POST", path, body or {}, **parameters)

    def put(self, path: str, body: Json) -> Any:
        return self.request("PUT", path, body)

    # Media

    def upload(self, content: bytes, content_type: str, name: str) -> str:
        """Uploads a file, and returns the server and the media id as they stand in paths."""
        response = self.http.post(
            "media/v3/upload", content=content, headers={"Content-Type": content_type}, params={"filename": name}
        )
        return checked(response).json()["content_uri"].removeprefix("mxc://")

    def download(self, path: str, **parameters: Any) -> httpx.Response:
        return checked(self.http.get(f"client/v1/media/{path}", params=parameters))

    # Rooms

    def create_room(self, version: str = "11", **request: Any) -> str:
        request = {"room_version": version, "preset": "public_chat", **request}
        return self.post("createRoom", request)["room_id"]

    def join(self, room: str, *through: "User") -> str:
        """Joins a room id or an alias, by way of the servers of other users."""
        via = [user.server_name for user in through]
        return self.post(f"join/{quote(room, safe='')}", via=via, server_name=via)["room_id"]

    def meet(self, other: "User", version: str = "11") -> str:
        """Creates a public room that another user joins; returns once this user's server knows of it."""
        room_id = self.create_room(version)
        other.join(room_id, self)
        self.until_membership(room_id, other, "join")
        return room_id

    def knock(self, room: str, through: "User", reason: str) -> None:
        via = through.server_name
        self.post(f"knock/{quote(room, safe='')}", {"reason": reason}, via=via, server_name=via)

    def invite(self, room_id: str, user: "User") -> None:
        self.post(f"rooms/{room_id}/invite", {"user_id": user.user_id})

    def leave(self, room_id: str) -> None:
        self.post(f"rooms/{room_id}/leave")

    def kick(self, room_id: str, user: "User", reason: str = "") -> None:
        self.post(f"rooms/{room_id}/kick", {"user_id": user.user_id, "reason": reason})

    def ban(self, room_id: str, user: "User", reason: str = "") -> None:
        self.post(f"rooms/{room_id}/ban", {"user_id": user.user_id, "reason": reason})

    def unban(self, room_id: str, user: "User") -> None:
        self.post(f"rooms/{room_id}/unban", {"user_id": user.user_id})

    def send(self, room_id: str, text: str) -> str:
        """Sends a text, and returns its event id."""
        return self.send_event(room_id, "m.room.message", {"msgtype": "m.text", "body": text})

    def send_event(self, room_id: str, event_type: str, content: Json) -> str:
        path = f"rooms/{room_id}/send/{event_type}/{next(self.transactions)}"
        return self.put(path, content)["event_id"]

    def redact(self, room_id: str, event_id: str) -> str:
        return self.put(f"rooms/{room_id}/redact/{event_id}/{next(self.transactions)}", {})["event_id"]

    def set_state(self, room_id: str, event_type: str, content: Json, key: str = "") -> str:
        return self.put(f"rooms/{room_id}/state/{event_type}/{quote(key, safe='')}", content)["event_id"]

    def change_state(self, room_id: str, event_type: str, **fields: Any) -> str:
        """Replaces some fields of a state event."""
        return self.set_state(room_id, event_type, {**self.state(room_id, event_type), **fields})

    def state(self, room_id: str, event_type: str, key: str = "") -> Json:
        """The content of a state event."""
        return self.get(f"rooms/{room_id}/state/{event_type}/{quote(key, safe='')}")

    def whole_state(self, room_id: str) -> dict[tuple[str, str], str]:
        """The event ids of the room's state by type and state key."""
        events = self.get(f"rooms/{room_id}/state")
        return {(event["type"], event["state_key"]): event["event_id"] for event in events}

    def membership(self, room_id: str, user: "User") -> str | None:
        """The membership of a user as the room's state has it; none if there is none."""
        try:
            return self.state(room_id, "m.room.member", user.user_id)["membership"]
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def texts(self, room_id: str) -> list[str]:
        """All texts of the room's history, the oldest first."""
        return [event["content"]["body"] for event in self.history(room_id, "m.room.message")]

    def history(self, room_id: str, event_type: str) -> list[Json]:
        """All events of a type in the room's history, the oldest first."""
        found: list[Json] = []
        page = self.get(f"rooms/{room_id}/messages", dir="b", limit=100)
        while True:
            found += [event for event in page["chunk"] if event["type"] == event_type]
            if "end" not in page:
                return found[::-1]
            page = self.get(f"rooms/{room_id}/messages", dir="b", limit=100, **{"from": page["end"]})

    # Sync

    def sync(self, timeout_milliseconds: int = 0) -> Json:
        """The next response of `/sync`."""
        parameters: Json = {"timeout": timeout_milliseconds, "filter": FILTER}
        if self.since is not None:
            parameters["since"] = self.since
        response = self.get("sync", **parameters)
        self.since = response["next_batch"]
        self.syncs.append(response)
        return response

    def forget(self) -> None:
        """Takes no more account of what `/sync` has brought so far."""
        self.syncs.clear()

    def until(
        self, what: str, find: Callable[[Json], T | None], deadline_seconds: float = DEADLINE_SECONDS
    ) -> T:
        """Waits for a response of `/sync`, past or to come, in which `find` finds something, and returns that."""
        end = time.monotonic() + deadline_seconds
        for response in self._responses(end):
            found = find(response)
            if found:
                return found
        raise AssertionError(f"{self.user_id} did not receive within {deadline_seconds} s: {what}")

    def _responses(self, end: float) -> Iterator[Json]:
        yield from list(self.syncs)
        while time.monotonic() < end:
            yield self.sync(POLL_MILLISECONDS)

    def until_event(self, room_id: str, event_id: str, deadline_seconds: float = DEADLINE_SECONDS) -> Json:
        """Waits until the timeline of a room has the event."""
        return self.until(
            f"event {event_id}",
            lambda response: next(
                (event for event in timeline(response, room_id) if event["event_id"] == event_id), None
            ),
            deadline_seconds,
        )

    def until_membership(self, room_id: str, user: "User", membership: str) -> Json:
        """Waits until the room's timeline or state shows that membership."""

        def find(response: Json) -> Json | None:
            for event in room_events(response, room_id):
                if (event["type"], event.get("state_key")) == ("m.room.member", user.user_id):
                    if event["content"]["membership"] == membership:
                        return event
            return None

        return self.until(f"{membership} of {user.user_id}", find)

    def until_invited(self, room_id: str) -> list[Json]:
        """Waits for an invitation, and returns the stripped state with it."""
        return self.until(
            f"an invitation to {room_id}",
            lambda response: section(response, "invite", room_id).get("invite_state", {}).get("events"),
        )

    def until_left(self, room_id: str, reason: str) -> None:
        """Waits until the room is among those left, for that reason."""

        def find(response: Json) -> bool:
            events = timeline(response, room_id) if section(response, "leave", room_id) else []
            return any(event["content"].get("reason") == reason for event in events)

        self.until(f"the end of {room_id}, with the reason {reason!r}", find)

    def until_ephemeral(self, room_id: str, event_type: str, find: Callable[[Json], T | None]) -> T:
        """Waits for an ephemeral event in whose content `find` finds something."""

        def look(response: Json) -> T | None:
            for event in section(response, "join", room_id).get("ephemeral", {}).get("events", []):
                if event["type"] == event_type and (found := find(event["content"])):
                    return found
            return None

        return self.until(event_type, look)

    def until_presence(self, user: "User", find: Callable[[Json], T | None]) -> T:
        """Waits to be told of a user's presence, in which `find` finds something."""

        def look(response: Json) -> T | None:
            for event in response.get("presence", {}).get("events", []):
                if event["sender"] == user.user_id and (found := find(event["content"])):
                    return found
            return None

        return self.until(f"presence of {user.user_id}", look)


def checked(response: httpx.Response) -> httpx.Response:
    """The response if it is no error."""
    if not response.is_success:
        raise Refused(response.status_code, response.json())
    return response


def section(response: Json, kind: str, room_id: str) -> Json:
    """What a response of `/sync` has of a room among those of a kind (join, invite, leave, knock)."""
    return response.get("rooms", {}).get(kind, {}).get(room_id, {})


def timeline(response: Json, room_id: str) -> list[Json]:
    """The timeline events of a room in a response of `/sync`."""
    return [
        event
        for kind in ("join", "leave")
        for event in section(response, kind, room_id).get("timeline", {}).get("events", [])
    ]


def room_events(response: Json, room_id: str) -> list[Json]:
    """The state and timeline events of a room in a response of `/sync`."""
    state = [
        event
        for kind in ("join", "leave")
        for event in section(response, kind, room_id).get("state", {}).get("events", [])
    ]
    return state + timeline(response, room_id)
