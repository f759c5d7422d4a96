"""What the stand-in mParticle is told when it starts: its feeds, its quota, and how much it remembers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sandbox.ports import LOOPBACK
from shared.feed import ProtectionLevel


class Storing(StrEnum):
    """How much of what it takes the stand-in remembers; every level counts."""

    PROFILES = "profiles"
    IDS = "ids"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class SandboxFeed:
    """An input of the stand-in: who may send, and what that may do to profiles."""

    key: str
    secret: str
    protection: ProtectionLevel = ProtectionLevel.CREATE_AND_UPDATE

    def __repr__(self) -> str:
        return f"SandboxFeed(key={self.key!r}, secret=..., protection={self.protection!r})"


DEMO_FEED: Final = SandboxFeed("us1-sandbox", "sandbox")


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How a stand-in mParticle is started.

    Attributes:
        host: the address to listen on. What asks and steers it needs no sign-in, so others only in a private network.
        port: 0 takes a free one.
        feeds: the key pairs that may send. Ids are remembered per key; the quota is shared, as an account's is.
        storing: with less than ``profiles``, profiles cannot be read and protection levels have nothing to protect;
            with ``off``, a repeated id is taken again.
        accepts_gzip: whether bodies may come compressed. mParticle documents no compression, so: no.
        batches_per_s: the account's quota; None sets no limit. mParticle's default is 270 (default service limits).
        acceleration_batches_per_s: how many more batches one second may bring than the second before; None: any.
        seed: makes faults that strike only a share of the requests strike the same ones each time.

    Raises:
        ValueError: two feeds share a key, there is none, or a limit is not positive.
    """

    host: str = LOOPBACK
    port: int = 0
    feeds: tuple[SandboxFeed, ...] = (DEMO_FEED,)
    storing: Storing = Storing.PROFILES
    accepts_gzip: bool = False
    batches_per_s: int | None = None
    acceleration_batches_per_s: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        keys = [feed.key for feed in self.feeds]
        if not keys or len(set(keys)) != len(keys):
            raise ValueError(f"feeds: expected one or more, each with a key of its own; got the keys {keys}")
        for name in ("batches_per_s", "acceleration_batches_per_s"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name}: expected at least 1, or None for no limit; got {limit}")
