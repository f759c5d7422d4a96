"""What a command is told to talk to is repeated in messages; what it signs in with never is."""

import socket
from collections.abc import Iterator

import pytest

from console.client import Client
from shared.access import SECRET_BYTES, to_token
from shared.errors import DeclarationInvalid, ServerUnavailable, SignInRefused

TOKEN = to_token(bytes(SECRET_BYTES))


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that nobody listens on, nor will: it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_token_out_of_a_file_may_end_in_a_line_end(nobody: str) -> None:
    with Client.elsewhere(nobody, f"{TOKEN}\r\n", "12345") as client, pytest.raises(ServerUnavailable) as told:
        client.get("/feeds", list)
    assert nobody in str(told.value)


@pytest.mark.parametrize("token", ["", "two words", f"{TOKEN}\u00e9", f"{TOKEN}\r\nX-Other: {TOKEN}"])
def test_what_can_be_no_token_is_refused_and_not_repeated(nobody: str, token: str) -> None:
    with pytest.raises(SignInRefused) as refused:
        Client.elsewhere(nobody, token, "12345")
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://anna:hunter2@host", "host:8000", "127.0.0.1:8000", "file:///hunter2", "https://", "http://h:x"]
)
def test_an_address_that_could_hold_a_password_is_not_repeated(url: str) -> None:
    with pytest.raises(DeclarationInvalid, match="--url") as refused:
        Client.elsewhere(url, TOKEN, "12345")
    assert "hunter2" not in str(refused.value)
