"""What a request came to."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.messages import Message
from shared.run import RunId


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request came to: the runs it created or reopened, and the messages to send for them."""

    runs: tuple[RunId, ...]
    messages: tuple[Message, ...]


def together(asked: Sequence[Asked]) -> Asked:
    """Give several requests as one."""
    return Asked(
        tuple(run for one in asked for run in one.runs), tuple(message for one in asked for message in one.messages)
    )
