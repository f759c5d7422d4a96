"""A client of a server elsewhere says what is wrong with its address or its token before it sends anything."""

import pytest

from console.client import Client
from shared.errors import DeclarationInvalid, ServerUnavailable, SignInRefused

_NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "ftp://host", "http://", "http://h:x"])
def test_an_address_that_is_none_is_refused_rather_than_awaited(url: str) -> None:
    with pytest.raises(DeclarationInvalid, match=r"--url: expected .* http://127\.0\.0\.1:8000"):
        Client.elsewhere(url, "ws_token", "any")


@pytest.mark.parametrize("token", ["ws_to\nken", "ws_to ken", "ws_t\u00f6ken", "ws_to\x00ken"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(SignInRefused) as refused, Client.elsewhere(_NOBODY_LISTENS, token, "any") as client:
        client.get("/runs", list)
    assert token[:5] not in str(refused.value)


@pytest.mark.parametrize("around", ["ws_token\n", "ws_token\r\n", " ws_token"])
def test_the_line_end_after_a_token_is_no_part_of_it(around: str) -> None:
    with (
        pytest.raises(ServerUnavailable, match="does not answer") as refused,
        Client.elsewhere(_NOBODY_LISTENS, around, "any") as client,
    ):
        client.get("/runs", list)
    assert "ws_token" not in str(refused.value)
