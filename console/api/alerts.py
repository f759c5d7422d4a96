"""``/alerts``: what is the matter, what was, who was told; and a message to try out the channels. Ours."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query

from console.api.answering import responses
from console.api.paging import Paged, Pages, Place, no_place
from console.api.places import asking
from console.api.signed_in import Admin, Viewer
from console.shapes.alerts import (
    AlertChangeShape,
    AlertDetail,
    AlertShape,
    AlertState,
    ChannelShape,
    DeliveryShape,
    TrialShape,
)
from console.shapes.confirmed import RunReference
from shared import moments
from shared.alerts import AlertName
from shared.store.alerts import AlertPlace, Delivery, Listed, Told

router = APIRouter(prefix="/alerts", tags=["alerts"])


@router.get("", responses=responses())
def list_alerts(
    operations: Viewer,
    paged: Paged,
    is_open: Annotated[bool | None, Query(alias="open", description="only open ones, or only others")] = None,
    names: Annotated[Sequence[AlertName], Query(alias="name", description="only with one of these names")] = (),
    pipeline_id: Annotated[str | None, Query(alias="pipelineId", description="only of this pipeline")] = None,
) -> list[AlertShape]:
    """List alerts: open ones first, and of each the newest first."""
    found = operations.alerting.listed(
        is_open=is_open, names=names, pipeline_id=pipeline_id, after=_place(paged), limit=paged.limit + 1
    )
    return [AlertShape(**_fields(one)) for one in paged.one(found, _written)]


@router.get("/{id}", responses=responses())
def get_alert(
    operations: Viewer, alert_id: Annotated[str, Path(alias="id", description="the id of an alert")]
) -> AlertDetail:
    """Give one alert, its changes, and how far each channel is with telling them."""
    found, changes = operations.alerting.get(alert_id)
    return AlertDetail(**_fields(found), changes=tuple(_change(one) for one in changes))


@router.post("/test", responses=responses(504), dependencies=[asking])
def test_alerts(operations: Admin) -> TrialShape:
    """Have a worker send a message by every channel, and say what each answered; a repeat sends it once more."""
    answers = operations.alerting.test()
    return TrialShape(channels=tuple(ChannelShape(**one.model_dump()) for one in answers))


def _fields(found: Listed) -> dict[str, Any]:
    told = found.message
    if found.is_event:
        state = AlertState.EVENT
    else:
        state = AlertState.OPEN if found.recovered_at is None else AlertState.RECOVERED
    return {
        "id": found.id,
        "name": told.name,
        "state": state,
        "title": told.title,
        "sentence": told.sentence,
        "pipeline_id": None if told.pipeline is None else told.pipeline.id,
        "pipeline_name": None if told.pipeline is None else told.pipeline.name,
        "run": None if told.run is None else RunReference(id=told.run.id, number=told.run.number),
        "error_kind": told.error_kind,
        "counts": told.counts,
        "cure": told.cure,
        "command": told.command,
        "since": told.since,
        "opened_on": found.opened_at,
        "recovered_on": None if found.is_event else found.recovered_at,
    }


def _change(told: Told) -> AlertChangeShape:
    return AlertChangeShape(
        id=told.message.id,
        change=told.message.change,
        title=told.message.title,
        sentence=told.message.sentence,
        changed_on=told.changed_at,
        deliveries=tuple(_delivery(one) for one in told.deliveries),
    )


def _delivery(one: Delivery) -> DeliveryShape:
    is_over = one.delivered_at is not None or one.given_up_at is not None
    return DeliveryShape(
        channel=one.channel,
        attempts=one.attempts,
        delivered_on=one.delivered_at,
        given_up_on=one.given_up_at,
        next_on=None if is_over else one.not_before,
        error=one.error,
    )


def _written(found: Listed) -> Place:
    return int(found.recovered_at is None), moments.written_exactly(found.opened_at), str(found.id)


def _place(paged: Pages) -> AlertPlace | None:
    place = paged.behind(int, str, str)
    if place is None:
        return None
    try:
        opened_at, alert_id = datetime.fromisoformat(str(place[1])), UUID(str(place[2]))
    except ValueError:
        raise no_place() from None
    if opened_at.tzinfo is None:
        raise no_place()
    return AlertPlace(bool(place[0]), opened_at, alert_id)
