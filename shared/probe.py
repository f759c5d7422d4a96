"""Questions that only a worker may ask a warehouse, and their answers.

Whoever drives the product holds no warehouse's secret and no driver. It records a question; a worker answers it into
the store, within seconds or not at all. Preview answers hold rows: they are removed when they are read.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.fields import Slug


class ProbeKind(StrEnum):
    """What is asked."""

    TEST = "test"
    """Sign in to a connection: as whom, and what time it is there."""
    COLUMNS = "columns"
    """A pipeline's columns, with their types and what becomes of them; runs nothing."""
    PREVIEW = "preview"
    """Some rows of a pipeline's data model, and the batches that they become."""
    COUNT = "count"
    """The rows of the window that the pipeline's next run would read, or of another; the warehouse runs a query."""
    COST = "cost"
    """The bytes that a query for those rows would read, where the warehouse tells beforehand; runs nothing."""
    RESEAL = "reseal"
    """Seal every sealed secret anew, to the public key that is named; asks no warehouse."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Told):
    """What is asked of which connection or pipeline."""

    kind: ProbeKind
    connection_id: Slug | None = None
    pipeline_id: Slug | None = None
    rows: Annotated[int, Field(ge=1, le=100)] = Field(5, description="of a preview")
    low: AwareDatetime | None = Field(None, description="of a count or cost: instead of the next run's window")
    high: AwareDatetime | None = None
    public_key: str | None = Field(None, description="of resealing: what secrets are sealed to from now on")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.public_key is not None) != (self.kind is ProbeKind.RESEAL):
            raise ValueError(f"public_key: a {ProbeKind.RESEAL} probe names one, and no other does")
        if self.kind is ProbeKind.RESEAL:
            if self.connection_id is not None or self.pipeline_id is not None:
                raise ValueError("a reseal probe is about all feeds and connections, and names none")
            return self
        of_connection = self.kind is ProbeKind.TEST
        if (self.connection_id is not None) != of_connection or (self.pipeline_id is not None) == of_connection:
            raise ValueError(f"a {self.kind} probe names one {'connection' if of_connection else 'pipeline'}")
        return self


class ColumnAnswer(_Told):
    """One column: its type in the warehouse's own word, and the field that it becomes or why it cannot."""

    name: str
    type: str
    becomes: str
    refused: str | None = None


class RejectAnswer(_Told):
    """A previewed row that would be refused, by its position among the rows, and why."""

    row: int
    code: str
    reason: str


class ResealAnswer(_Told):
    """How many secrets were sealed anew, how many already were, and which could not be, with the reasons."""

    resealed: int = 0
    already: int = 0
    failed: tuple[str, ...] = ()


class Answer(_Told):
    """What a worker found out; only what the question's kind asks for is filled."""

    session: dict[str, str] = {}
    warehouse_now: datetime | None = None
    columns: tuple[ColumnAnswer, ...] = ()
    refused: str | None = Field(None, description="why the pipeline cannot run as it is declared")
    cautions: tuple[str, ...] = Field((), description="what runs allow and may not be expected")
    rows: tuple[dict[str, Any], ...] = ()
    batches: tuple[dict[str, Any], ...] = ()
    rejects: tuple[RejectAnswer, ...] = ()
    low: datetime | None = None
    high: datetime | None = None
    row_count: int | None = None
    null_count: int | None = Field(None, description="rows without a time: history and full runs read them, no other")
    scanned_bytes: int | None = None
    resealing: ResealAnswer | None = None
