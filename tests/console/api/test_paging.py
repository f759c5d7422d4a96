import asyncio
from base64 import urlsafe_b64encode

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from hypothesis import given
from hypothesis import strategies as st

from console.api.paging import After, Limit, page, read, written
from shared.errors import DeclarationInvalid
from tests.console.api.conftest import HOST, Api


@given(st.lists(st.integers(0, 2**62) | st.text(), min_size=1, max_size=3))
def test_a_place_is_read_as_it_was_written(parts: list[int | str]) -> None:
    assert read(written(tuple(parts)), *(type(part) for part in parts)) == tuple(parts)


@pytest.mark.parametrize(
    "after",
    [
        urlsafe_b64encode(b"[" * 40_000).decode(),
        "",
        "e",
        "%%%",
        "bnVsbA",
        "WzFd",
        written((1, 2)),
        written(("a",)),
        "\u00e9",
    ],
)
def test_what_no_answer_named_is_refused(after: str) -> None:
    with pytest.raises(DeclarationInvalid, match="Link header"):
        read(after, int, str)


def test_pages_together_are_the_list_and_the_last_names_no_next() -> None:
    app = FastAPI()
    whole = [*range(10, 0, -1)]

    @app.get("/numbers")
    def numbers(request: Request, response: Response, limit: Limit = 4, after: After = None) -> list[int]:
        place = read(after, int)
        rest = [one for one in whole if place is None or one < int(place[0])]
        return page(request, response, rest[: limit + 1], limit, lambda one: (one,))

    with asyncio.Runner() as runner:
        api = Api(httpx.AsyncClient(transport=httpx.ASGITransport(app)), runner)
        url, following, found = f"{HOST}/numbers?limit=4", None, []
        for _ in range(3):
            answer = api.send("GET", url)
            found.append(answer.json())
            following = answer.links.get("next", {}).get("url")
            url = str(answer.url.join(following)) if following else url
        assert following is None
    assert found == [whole[:4], whole[4:8], whole[8:]]
