"""The stand-in as a process of its own, and what it may be started with."""

import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from sandbox.ports import LOOPBACK
from sandbox.settings import DEMO_FEED, SandboxFeed, SandboxSettings

LIMIT_S = 60
_PROGRAM = """
from sandbox.mparticle import run_sandbox
from sandbox.settings import SandboxSettings
run_sandbox(SandboxSettings(), ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_cleanly(number: signal.Signals) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        base_url = process.stdout.readline().strip()
        connection = HTTPConnection(base_url.removeprefix("http://"), timeout=LIMIT_S)
        connection.request("GET", "/counters")
        with connection.getresponse() as response:
            assert b'"requests":0' in response.read()
        connection.close()
        process.send_signal(number)
        assert process.wait(timeout=LIMIT_S) == 0
        assert not process.stderr.read()
    assert base_url.startswith(f"http://{LOOPBACK}:")


def test_it_listens_on_the_loopback_unless_told_otherwise() -> None:
    assert SandboxSettings().host == LOOPBACK == "127.0.0.1"


def test_feeds_have_keys_of_their_own_and_limits_are_positive() -> None:
    for feeds in ((), (DEMO_FEED, SandboxFeed(DEMO_FEED.key, "other"))):
        with pytest.raises(ValueError, match="feeds"):
            SandboxSettings(feeds=feeds)
    with pytest.raises(ValueError, match="batches_per_s"):
        SandboxSettings(batches_per_s=0)


def test_a_secret_is_in_no_repr() -> None:
    assert "hush" not in repr(SandboxSettings(feeds=(SandboxFeed("key", "hush"),)))
