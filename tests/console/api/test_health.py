import asyncio

import anyio.to_thread
import httpx

from console.api.app import build_api
from console.operations import Operations
from tests.console.api.conftest import HOST

LIMIT_S = 10


def test_a_server_whose_threads_all_wait_still_says_that_it_serves(operations: Operations) -> None:
    async def ask() -> httpx.Response:
        limiter = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(limiter.available_tokens)):
            limiter.acquire_on_behalf_of_nowait(object())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(build_api(operations))) as http:
            return await asyncio.wait_for(http.get(f"{HOST}/healthz"), LIMIT_S)

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
