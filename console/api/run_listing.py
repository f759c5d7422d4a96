"""What lists of runs have in common: which runs, and a page of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from fastapi import Query

from console.api.paging import Pages, Place, no_place
from console.api.run_answers import run_shape
from console.operations import Operations
from console.shapes.reconstructed import RunShape
from console.watching import SeenRun
from shared import moments
from shared.run import RunState
from shared.store.run_lists import RunPlace, Wanted

NAMED: Final = "a run's number, its id, or the beginning of its id"
States = Annotated[Sequence[RunState], Query(alias="state", description="only runs in one of these states")]


def run_page(operations: Operations, wanted: Wanted, paged: Pages) -> list[RunShape]:
    """Give a page of runs, newest first."""
    found = operations.watching.runs(wanted, before=_place(paged), limit=paged.limit + 1)
    return [run_shape(one) for one in paged.one(found, _written)]


def _written(found: SeenRun) -> Place:
    return moments.written_exactly(found.run.created_at), found.run.number


def _place(paged: Pages) -> RunPlace | None:
    place = paged.behind(str, int)
    if place is None:
        return None
    try:
        created_at = datetime.fromisoformat(str(place[0]))
    except ValueError:
        raise no_place() from None
    if created_at.tzinfo is None:
        raise no_place()
    return RunPlace(created_at, int(place[1]))
