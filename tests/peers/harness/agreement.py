"""Whether servers agree on a room."""

from .user import User
from .waiting import until


def agree(room_id: str, *users: User) -> dict[tuple[str, str], str]:
    """Waits until the servers of all these members have the same events as the state of the room; returns them."""
    seen = []

    def attempt() -> dict[tuple[str, str], str] | None:
        seen[:] = [user.whole_state(room_id) for user in users]
        return seen[0] if all(state == seen[0] for state in seen) else None

    try:
        return until(f"the same state of {room_id} everywhere", attempt)
    except AssertionError as error:
        keys = {key for state in seen for key in state if any(other.get(key) != state[key] for other in seen)}
        different = {key: [state.get(key) for state in seen] for key in sorted(keys)}
        raise AssertionError(f"the servers differ in {different}") from error
