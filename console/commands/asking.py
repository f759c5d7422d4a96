"""What commands share that ask the API: names in paths, and a sign of life while workers are asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from pydantic import TypeAdapter

from console.client import Answer, Client
from console.terminal import screen
from shared.errors import NotFound


def path_of(noun: str, named: str, *further: str) -> str:
    """Give the path of one thing: ``path_of("run", "17", "rejects")`` is ``/runs/17/rejects``.

    Raises:
        NotFound: the name is empty: often a shell's variable that is not set.
    """
    if not named:
        raise NotFound(f"no {noun} is named: the id is empty; `warehouse-sync {noun}s` lists them")
    return "/".join(("", f"{noun}s", quote(named, safe=""), *further))


@contextmanager
def waiting(for_what: str) -> Iterator[None]:
    """Show on a terminal that something is waited for."""
    if screen.is_terminal:
        with screen.status(for_what):
            yield
    else:
        yield


def asked(client: Client, path: str, answer: type[Answer], body: object = None) -> tuple[Answer, str]:
    """Have workers answer a question; give the answer, and as the API wrote it."""
    with waiting("a worker looks"):
        told = client.text("POST", path, body=body)
    return TypeAdapter(answer).validate_json(told), told
