"""Shapes of rejected rows. Ours alone."""

from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import Field, model_validator

from console.shapes.confirmed import RunReference
from console.shapes.ground import Message, Shape
from console.shapes.requests import Requested
from shared.ledger import RejectCode

ROWS_HEADER: Final = "Warehouse-Sync-Rows"
"""In the headers of a download: how many rows it holds."""


class ReplayOfRun(Shape):
    """A run that sent a run's rejected rows anew."""

    run_id: UUID
    number: int
    state: str
    accepted_rows: int
    rejected_rows: int


class RejectsShape(Shape):
    """What a run has of rejected rows: no row's values."""

    run_id: UUID
    number: int
    pipeline_id: str
    rejected: int = Field(description="rows that the run rejected, whatever became of them since")
    counts: dict[str, int] = Field(description="by code, the most first: rows whose values are still there")
    purged: int
    removed: int = Field(description="rows whose retention has ended")
    left_to_replay: int = Field(description="rows that no replay has taken")
    left_by_code: dict[str, int]
    replays: tuple[ReplayOfRun, ...]


class RejectedRow(Shape):
    """One rejected row; what may be secret in it is masked."""

    code: str
    reason: str
    values: dict[str, Any]


class ReplayRequest(Requested):
    """Which of a run's rejected rows are sent anew."""

    code: RejectCode | None = Field(None, description="only rows that were refused for this; all without")


class ReplayShape(Shape):
    """The run that sends them."""

    run_id: UUID
    number: int
    warnings: tuple[Message, ...] = ()


class PurgeRequest(Requested):
    """Whose rows go: those in which a column has this value, as text."""

    pipeline_ids: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    all: bool = Field(default=False, description="the rejects of every pipeline, instead of pipeline_ids")
    column: str = Field(description="as the query names it, in any case")
    value: str = Field(repr=False)

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.pipeline_ids is None) != self.all:
            raise ValueError("name pipeline_ids, or say all; not both")
        return self


class PurgeShape(Shape):
    """What a purge came to."""

    rows: int
    runs: int = Field(description="from how many runs they were removed")
    in_spool: tuple[UUID, ...] = Field(
        description="runs whose chunks may still hold such rows, until shortly after they are closed"
    )
    in_spool_runs: tuple[RunReference, ...] = Field((), description="the same runs, with their numbers")
    warnings: tuple[Message, ...] = ()
