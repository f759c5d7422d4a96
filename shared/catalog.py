"""What operators declare: connections, data models and pipelines. Feeds and field transformations have own modules.

These are checked when they are declared, so that a mistake is found by the person who made it. A secret is never here:
only a reference to it (``env:NAME`` or ``file:/path``), which workers resolve.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from shared.alerts import AlertPolicy
from shared.dataplan import DataPlan
from shared.fields import Declared, Duration, Moment, Name, Slug, Title, ZoneName
from shared.limits import Beyond, Limits
from shared.providers.bigquery import BigQueryConfig
from shared.providers.databricks import DatabricksConfig
from shared.providers.duckdb import DuckDbConfig
from shared.providers.redshift import RedshiftConfig
from shared.providers.snowflake import SnowflakeConfig
from shared.schedule import OnDemand, Schedule
from shared.volume import Volume


class ServiceProvider(StrEnum):
    """Whose warehouse it is."""

    DUCKDB = "duckdb"
    SNOWFLAKE = "snowflake"
    BIGQUERY = "bigquery"
    REDSHIFT = "redshift"
    DATABRICKS = "databricks"


class Environment(StrEnum):
    """The mParticle environment that a pipeline's batches belong to."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class NullPolicy(StrEnum):
    """What a NULL in an attribute column means."""

    OMIT = "omit"
    DELETE = "delete"
    NULL = "null"


class IteratorType(StrEnum):
    """How an iterator column tells time.

    The warehouses' own names are accepted and mean one of these: ``timestamp_ltz``, ``timestamp_tz`` and
    ``timestamptz`` are instants, ``timestamp_ntz`` and ``datetime`` are local to a zone. Plain ``timestamp`` is what
    the warehouse means by it, so the column's own type decides.
    """

    TIMESTAMP = "timestamp"
    TIMESTAMP_TZ = "timestamp_tz"
    TIMESTAMP_NTZ = "timestamp_ntz"
    DATE = "date"
    UNIXTIME_MS = "timestamp_unixtime_ms"
    UNIXTIME_S = "timestamp_unixtime_s"

    @classmethod
    def _missing_(cls, value: object) -> "IteratorType | None":
        names = {kind.value: kind for kind in cls} | {
            "timestamp_ltz": cls.TIMESTAMP_TZ,
            "timestamptz": cls.TIMESTAMP_TZ,
            "datetime": cls.TIMESTAMP_NTZ,
        }
        return names.get(value.lower()) if isinstance(value, str) else None


Config = DuckDbConfig | SnowflakeConfig | BigQueryConfig | RedshiftConfig | DatabricksConfig


class Connection(Declared):
    """A warehouse and how to sign in; the provider, in any case, decides what ``config`` holds."""

    id: Slug
    name: Title
    service_provider: ServiceProvider
    config: Config = Field(discriminator="service_provider")

    @model_validator(mode="before")
    @classmethod
    def _provider_decides(cls, declared: Any) -> Any:
        if not isinstance(declared, dict) or not isinstance(provider := declared.get("service_provider"), str):
            return declared
        config, provider = declared.get("config"), provider.lower()
        if isinstance(config, dict):
            config = {**config, "service_provider": provider}
        return {**declared, "service_provider": provider, "config": config}

    @model_validator(mode="after")
    def _config_is_the_providers(self) -> Self:
        if self.config.service_provider != self.service_provider:
            raise ValueError(f"config: it is {self.config.service_provider}'s, not {self.service_provider}'s")
        return self


class DataModel(Declared):
    """One SQL query over a connection's warehouse."""

    id: Slug
    name: Title
    type: Literal["sql"] = "sql"
    sql_query: Annotated[str, Field(min_length=1)]
    secret_columns: tuple[Name, ...] = Field(
        (), description="columns whose values are hidden where rows are shown; they are sent all the same"
    )


MOST_PARTS: Final = 1000
"""Of history, or of a backfill: each runs the model's query once more."""


class Incremental(Declared):
    """Read only what changed since the last settled window, as the iterator tells."""

    type: Literal["incremental"] = "incremental"
    iterator_field: Name
    iterator_data_type: IteratorType
    iterator_time_zone: ZoneName = Field("UTC", description="what a zone-less iterator's values are local to")
    track_from: Moment | None = Field(None, description="where history begins, inclusive; unset: everything")
    until: Moment | None = Field(None, description="no row at or after this is read")
    lookback: Duration | None = Field(
        None,
        gt=timedelta(0),
        le=timedelta(days=30),
        description="how far below its window a live run also reads, for rows that committed late; 30 days at most",
    )
    row_key: Name | None = Field(None, description="the column that tells a row from every other")
    history_parts: int = Field(
        1, ge=1, le=MOST_PARTS, description="into how many runs, at most, history is cut by time"
    )
    history_newest_first: bool = Field(
        default=False, description="whether the part of history next to the present is read first"
    )
    history_part_rows: int | None = Field(None, gt=0, description="how many rows a part of history should have")

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.track_from is not None and self.until is not None and self.track_from >= self.until:
            raise ValueError("track_from must be before until")
        return self


class Full(Declared):
    """Read all rows each time."""

    type: Literal["full"] = "full"


SyncMode = Annotated[Incremental | Full, Field(discriminator="type")]


class Pipeline(Declared):
    """What is drafted, activated, paused and deleted: a model's rows on their way to a feed."""

    id: Slug
    name: Title
    connection_id: Slug
    data_model_id: Slug
    feed_id: Slug
    field_transformation_id: Slug | None = Field(
        None, description="makes each row an event, mapped as it says; unset: rows are users, mapped by column name"
    )
    environment: Environment | None = Field(None, description="no default: a run without one is refused")
    sync_mode: SyncMode
    schedule: Schedule = OnDemand()
    on_null: NullPolicy = NullPolicy.OMIT
    rename: dict[Name, Name] = Field(
        default_factory=dict, description="columns that are mapped as if SQL had named them so; in whatever case"
    )
    merge: bool = Field(default=True, description="whether rows of one user in a chunk share a batch where they can")
    order_by_identity: bool = Field(
        default=False, description="whether the warehouse orders the rows by user, so that more of them share a batch"
    )
    historical: Literal["auto", "never"] = Field(
        "auto", description="whether events older than 30 days go to mParticle's endpoint for historical data"
    )
    alerts: AlertPolicy | None = Field(
        None,
        # A release that does not know it reads every pipeline that does without.
        exclude_if=lambda policy: policy is None,
        description="what people are told otherwise than of other pipelines",
    )
    one_row_per: tuple[Name, ...] = Field(
        (), description="the columns that say whose row it is: of each user, only a window's newest row is read"
    )
    limits: Limits = Field(Limits(), description="what becomes of rows beyond mParticle's documented limits")
    data_plan: DataPlan | None = Field(None, description="what batches are checked against before they are sent")
    max_rejected_ratio: float | None = Field(
        0.5,
        gt=0,
        lt=1,
        description="the share of rejected rows above which a run stops and the pipeline is faulted; null: any",
    )
    max_rejected_rows: int | None = Field(
        None, ge=0, description="how many rejected rows a run may have before it stops; null: any number"
    )
    volume: Volume | None = Field(
        None,
        # A release that does not know it reads every pipeline that does without.
        exclude_if=lambda volume: volume is None,
        description="how many rows a run may read without being held until somebody decides; null: any number",
    )

    @model_validator(mode="after")
    def _can_leave_attributes_out(self) -> Self:
        if self.limits.user_attributes is Beyond.TRUNCATE and self.on_null is not NullPolicy.OMIT:
            raise ValueError(
                f"limits.user_attributes: truncate leaves attributes out, and with on_null: {self.on_null} one that is "
                "left out is deleted or set to null; expected reject or warn, or on_null: omit"
            )
        return self

    @model_validator(mode="after")
    def _is_of_events_or_of_users(self) -> Self:
        if self.field_transformation_id is None:
            return self
        if self.rename:
            raise ValueError("rename: the field transformation says where columns go, by the names that they have")
        if self.one_row_per:
            raise ValueError("one_row_per: events are not rows of which only the newest counts; leave it out")
        mode = self.sync_mode
        if isinstance(mode, Incremental) and mode.lookback is not None and mode.row_key is None:
            raise ValueError(
                "sync_mode.lookback: events that are read again would be sent twice; declare a row_key to tell them by"
            )
        return self

    @model_validator(mode="after")
    def _has_a_newest_row(self) -> Self:
        if not self.one_row_per:
            return self
        if self.sync_mode.type == "full":
            raise ValueError(
                "one_row_per: a full sync has no iterator to tell which row of a user is the newest; "
                "keep one in the data model's SQL, or make sync_mode incremental"
            )
        if self.sync_mode.iterator_field.casefold() in {column.casefold() for column in self.one_row_per}:
            raise ValueError("one_row_per: the iterator tells when a row changed, not whose it is; leave it out")
        return self


def declared_environment(pipeline: Pipeline, connection: Connection) -> Environment | None:
    """Give the environment that a pipeline's batches belong to: its own, or else the one its connection names."""
    if pipeline.environment is not None or not isinstance(connection.config, SnowflakeConfig):
        return pipeline.environment
    named = connection.config.environment
    return None if named is None else Environment(named)
