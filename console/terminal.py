"""What all commands share: the screen, the verbs, and options that mean the same everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from console.operations import Operations
from shared.probe import Answer, Question
from shared.settings import settings

screen = Console()

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RunText = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its beginning.")]


@contextmanager
def opened() -> Iterator[Operations]:
    """Give the verbs for the length of a command."""
    operations = Operations(settings())
    try:
        yield operations
    finally:
        operations.close()


def asked(question: Question, *, as_json: bool) -> Answer | None:
    """Ask a worker; print the answer as JSON, or give it to be shown."""
    with opened() as operations:
        answer = operations.ask(question)
    if not as_json:
        return answer
    typer.echo(answer.model_dump_json(exclude_defaults=True))
    return None
