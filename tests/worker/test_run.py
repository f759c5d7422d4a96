"""What the fixture ``run`` makes of a scenario that leaves a connection open. If it is wrong, these tests never end."""

import asyncio
import socket
from typing import Any

import pytest


async def leave_a_connection_open(kept: list[socket.socket]) -> None:
    ours, theirs = socket.socketpair()
    kept.append(theirs)
    await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)


def test_a_scenario_that_fails_ends_with_its_own_failure(run: Any) -> None:
    kept: list[socket.socket] = []

    async def scenario() -> None:
        await leave_a_connection_open(kept)
        pytest.fail("what the scenario found")

    with pytest.raises(pytest.fail.Exception, match="what the scenario found"):
        run(scenario())
    kept[0].close()


def test_a_scenario_that_succeeds_may_leave_nothing_open(run: Any) -> None:
    kept: list[socket.socket] = []
    with pytest.raises(AssertionError, match=r"left open: .*Transport"):
        run(leave_a_connection_open(kept))
    kept[0].close()
