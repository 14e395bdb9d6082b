"""Files of users of another server."""

import io

import pytest
from conftest import PAIRS
from harness.user import Refused, User
from PIL import Image


def picture() -> bytes:
    data = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(data, "PNG")
    return data.getvalue()


def exchange(alice: User, bob: User, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    media = bob.upload(content, "application/octet-stream", "numbers.bin")
    for _ in range(2):
        response = alice.download(f"download/{media}")
        assert response.content == content
        assert "numbers.bin" in response.headers["content-disposition"]


@pytest.mark.parametrize("size", [1, 100, 5_000_000])
def test_a_file_is_downloaded_from_the_other_server(alice: User, bob: User, size: int) -> None:
    exchange(alice, bob, size)


# A Synapse answers for an empty file with a multipart body that has no parts.
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] != "synapse"], ids="-".join, indirect=True)
def test_an_empty_file_is_downloaded_from_the_other_server(alice: User, bob: User) -> None:
    exchange(alice, bob, 0)


def test_a_thumbnail_is_made_of_a_picture_of_the_other_server(alice: User, bob: User) -> None:
    media = bob.upload(picture(), "image/png", "gradient.png")
    response = alice.download(f"thumbnail/{media}", width=32, height=32, method="crop")
    assert Image.open(io.BytesIO(response.content)).size == (32, 32)


def test_a_file_that_does_not_exist_is_not_found(alice: User, bob: User) -> None:
    with pytest.raises(Refused, match="404"):
        alice.download(f"download/{bob.server_name}/nothing")
