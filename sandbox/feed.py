"""The stand-in mParticle as a program: ``python -m sandbox.feed --port 8080``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sandbox.mparticle import run_sandbox
from sandbox.ports import LOOPBACK
from sandbox.settings import DEMO_FEED, SandboxFeed, SandboxSettings, Storing
from shared.feed import ProtectionLevel


def run_feed(arguments: Sequence[str]) -> None:
    """Serve until SIGINT or SIGTERM; the secret is read from a file, so that no process list shows it."""
    parser = argparse.ArgumentParser(prog="sandbox.feed", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help="the control surface has no sign-in: keep others out")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=DEMO_FEED.key)
    parser.add_argument("--secret-file", type=Path)
    parser.add_argument("--protection", type=ProtectionLevel, default=ProtectionLevel.CREATE_AND_UPDATE)
    parser.add_argument("--storing", type=Storing, default=Storing.PROFILES)
    parser.add_argument("--batches-per-s", type=float)
    parser.add_argument("--acceleration-batches-per-s", type=float)
    parser.add_argument("--accepts-gzip", action="store_true")
    told = parser.parse_args(arguments)
    secret = DEMO_FEED.secret if told.secret_file is None else told.secret_file.read_text(encoding="utf-8").strip()
    settings = SandboxSettings(
        host=told.host,
        port=told.port,
        feeds=(SandboxFeed(told.key, secret, told.protection),),
        storing=told.storing,
        accepts_gzip=told.accepts_gzip,
        batches_per_s=told.batches_per_s and int(told.batches_per_s),
        acceleration_batches_per_s=told.acceleration_batches_per_s and int(told.acceleration_batches_per_s),
    )

    def ready(url: str) -> None:
        sys.stdout.write(f"stand-in mParticle listening on {url} (key {told.key})\n")
        sys.stdout.flush()

    run_sandbox(settings, ready=ready)


if __name__ == "__main__":
    run_feed(sys.argv[1:])
