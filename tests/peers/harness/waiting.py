"""Waiting for conditions, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE_SECONDS = 60
POLL_SECONDS = 0.05

T = TypeVar("T")


def until(what: str, attempt: Callable[[], T | None], deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """Repeats the attempt until it returns something true, and returns that."""
    end = time.monotonic() + deadline_seconds
    while True:
        result = attempt()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_seconds} s: {what} (last: {result!r})")
        time.sleep(POLL_SECONDS)
