"""Questions that only a worker may ask a warehouse or a feed, and their answers.

Whoever drives the product holds no secret and no driver. It records a question; a worker answers it into the store,
within seconds or not at all. Answers with rows are removed when they are read.

A question may be about what is declared, by ids, or about declarations that nobody saved, which it then carries. Feeds
and connections are always named by id, because they refer to secrets.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.catalog import DataModel, Pipeline
from shared.fields import Moment, Slug
from shared.transformation import FieldTransformation


class ProbeKind(StrEnum):
    """What is asked."""

    TEST = "test"
    """Sign in to a connection: as whom, and what time it is there."""
    QUERY = "query"
    """The columns of a data model over a connection, what each becomes for users, and some rows."""
    COLUMNS = "columns"
    """A pipeline's columns, with their types and what becomes of them; runs nothing."""
    PREVIEW = "preview"
    """Some rows of a pipeline's data model, and the batches that they become."""
    COUNT = "count"
    """The rows of the window that the pipeline's next run would read, or of another; the warehouse runs a query."""
    COST = "cost"
    """The bytes that a query for those rows would read, where the warehouse tells beforehand; runs nothing."""
    SEND = "send"
    """Send some rows to the pipeline's feed, in the environment development; what was sent stays sent."""
    FEED = "feed"
    """Reach a feed and find out whether it signs in, without sending it anything that counts."""
    SPOOL = "spool"
    """Write, read and remove a file in the spool, from whichever worker answers."""
    RESEAL = "reseal"
    """Seal every sealed secret anew, to the public key that is named; asks no warehouse."""
    ALERTS = "alerts"
    """Send a message by every channel of alerts; only control workers have them."""


MOST_SENT_ROWS: Final = 20
"""Of one ``SEND``: enough to see a mapping at work, and nothing that a quota would notice."""
_OF_A_PIPELINE: Final = frozenset(
    {ProbeKind.COLUMNS, ProbeKind.PREVIEW, ProbeKind.COUNT, ProbeKind.COST, ProbeKind.SEND}
)
_ALLOWED: Final = {
    ProbeKind.TEST: ("connection_id",),
    ProbeKind.QUERY: ("connection_id", "data_model_id", "data_model"),
    ProbeKind.FEED: ("feed_id",),
    ProbeKind.SPOOL: (),
    ProbeKind.ALERTS: (),
    ProbeKind.RESEAL: ("public_key",),
    **dict.fromkeys(_OF_A_PIPELINE, ("pipeline_id", "pipeline", "data_model", "field_transformation")),
}
_SUBJECTS: Final = (
    "connection_id",
    "pipeline_id",
    "data_model_id",
    "feed_id",
    "pipeline",
    "data_model",
    "field_transformation",
    "public_key",
)


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Give what is not as by default, as JSON: so a release that knows less reads whatever needs no more.

        What a field holds is given whole: of a declaration, a default may be what tells its kind.
        """
        document = self.model_dump(mode="json")
        fields = type(self).model_fields
        return {name: value for name, value in document.items() if getattr(self, name) != fields[name].default}


class Question(_Told):
    """What is asked of which connection, pipeline or feed.

    What a pipeline names by id is what is declared under that id, unless ``data_model`` or ``field_transformation``
    has it. An unsaved pipeline stands where a new one does: its next run is its first.
    """

    kind: ProbeKind
    connection_id: Slug | None = None
    pipeline_id: Slug | None = None
    data_model_id: Slug | None = None
    feed_id: Slug | None = None
    pipeline: Pipeline | None = Field(None, description="one that is not saved, in place of pipeline_id")
    data_model: DataModel | None = Field(None, description="one that is not saved")
    field_transformation: FieldTransformation | None = Field(None, description="one that is not saved")
    rows: Annotated[int, Field(ge=1, le=100)] = Field(5, description="of a query, a preview or a sending")
    low: Moment | None = Field(None, description="of a count or cost: instead of the next run's window")
    high: Moment | None = None
    public_key: str | None = Field(None, description="of resealing: what secrets are sealed to from now on")

    @property
    def about(self) -> str | None:
        """The id of the pipeline that is asked about, saved or not."""
        return self.pipeline.id if self.pipeline is not None else self.pipeline_id

    @model_validator(mode="after")
    def _names_what_its_kind_asks_for(self) -> Self:
        allowed = _ALLOWED[self.kind]
        for name in _SUBJECTS:
            if getattr(self, name) is not None and name not in allowed:
                raise ValueError(f"a {self.kind} probe names no {name}; expected {' or '.join(allowed) or 'nothing'}")
        if self.kind in _OF_A_PIPELINE:
            self._require_one("pipeline_id", "pipeline")
        if self.kind in {ProbeKind.TEST, ProbeKind.QUERY}:
            self._require_one("connection_id")
        if self.kind is ProbeKind.QUERY:
            self._require_one("data_model_id", "data_model")
        if self.kind is ProbeKind.FEED:
            self._require_one("feed_id")
        if self.kind is ProbeKind.RESEAL:
            self._require_one("public_key")
        if self.kind is ProbeKind.SEND and self.rows > MOST_SENT_ROWS:
            raise ValueError(f"rows: at most {MOST_SENT_ROWS} are sent, got {self.rows}")
        return self

    @model_validator(mode="after")
    def _carries_what_the_pipeline_names(self) -> Self:
        if self.pipeline is None:
            return self
        for name in ("data_model", "field_transformation"):
            carried, named = getattr(self, name), getattr(self.pipeline, f"{name}_id")
            if carried is not None and carried.id != named:
                raise ValueError(f"{name}: the pipeline names {named!r}, and the one carried along is {carried.id!r}")
        return self

    def _require_one(self, *names: str) -> None:
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError(f"a {self.kind} probe names one {' or '.join(names)}")


class _Answered(_Told):
    # What a worker of a later release adds is left out by whoever does not know it. A question is read whole or not.
    model_config = ConfigDict(extra="ignore")


class ColumnAnswer(_Answered):
    """One column: its type in the warehouse's own word, and the field that it becomes or why it cannot."""

    name: str
    type: str
    becomes: str
    refused: str | None = None


class RejectAnswer(_Answered):
    """A previewed or sent row that would be or was refused, by its position among the rows, and why."""

    row: int
    code: str
    reason: str


class SentAnswer(_Answered):
    """What became of rows that were sent, in the environment development. A row that was sent stays sent.

    Each of the ``rows`` that were read is accepted, among the answer's rejects, or unsent. The batches' ids are
    ``ids`` and, after a colon, the position of a row.
    """

    ids: str
    rows: int
    accepted_rows: int
    accepted_batches: int
    unsent_rows: int = 0
    why_unsent: str | None = None
    note: str


class FeedAnswer(_Answered):
    """What a feed answered to an empty body.

    ``signed_in`` is ``None`` where its answer does not tell; ``found`` says what it tells, and ``unknown`` what no
    answer can.
    """

    host: str
    signed_in: bool | None
    found: str
    unknown: str


class ResealAnswer(_Answered):
    """How many secrets were sealed anew, how many already were, and which could not be, with the reasons."""

    resealed: int = 0
    already: int = 0
    failed: tuple[str, ...] = ()


class ChannelAnswer(_Answered):
    """What a channel of alerts said to a message, or what kept it from being sent."""

    channel: str
    is_well: bool
    said: str


class Answer(_Answered):
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
    sent: SentAnswer | None = None
    feed: FeedAnswer | None = None
    resealing: ResealAnswer | None = None
    channels: tuple[ChannelAnswer, ...] = ()
