"""What is told of a change: the same for every channel, and exactly the body that a webhook is sent.

``docs/schema/alert.schema.json`` is written from here.
"""

import json
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.alerts import AlertName, Change

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


class _Told(BaseModel):
    # Whoever reads what a later release wrote leaves out what it does not know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class ToldPipeline(_Told):
    """The pipeline that it is about."""

    id: str
    name: str


class ToldRun(_Told):
    """The run that it is about; its number is what people call it."""

    id: UUID
    number: int


class AlertMessage(_Told):
    """One change of one alert. A repeat has the same ``id`` and says the same."""

    version: Literal[1] = 1
    id: UUID = Field(description="of this change: the same in every channel and every repeat")
    alert_id: UUID = Field(description="of the alert: the same when it opens, changes and recovers")
    name: AlertName
    change: Change
    title: str = Field(description="one line")
    sentence: str = Field(description="what happened, for an operator; never a row's value")
    since: datetime = Field(description="when it began; of an event, when it happened")
    ended: datetime | None = Field(None, description="when it was over; null unless it recovered")
    pipeline: ToldPipeline | None = None
    run: ToldRun | None = None
    error_kind: str | None = Field(None, description="as docs/errors.md lists them; null once it recovered")
    counts: dict[str, int] = Field(default_factory=dict, description="rows, by what became of them until this change")
    cure: str = Field(description="what to do about it; empty where nothing is to be done")
    command: str | None = Field(None, description="what to run, or to look with")
    link: str | None = Field(None, description="below WAREHOUSE_SYNC_ALERT_LINK_BASE, where that is set")
    is_test: bool = Field(default=False, description="sent by `warehouse-sync alerts test`: nothing is the matter")


def schema_text() -> str:
    """Give the JSON Schema of what a webhook is sent, as the text of its file."""
    schema = {"$schema": _DRAFT, **AlertMessage.model_json_schema(mode="serialization")}
    return json.dumps(schema, indent=2, ensure_ascii=False).replace("``", "`") + "\n"
