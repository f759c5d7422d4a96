"""``/connections``: the list and the object are confirmed, the other methods by analogy with v1.

Source: mParticle, Warehouse Sync API v2, "Get all connections".
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from console.api.answering import responses
from console.api.declared import Kind, add_routes, authors, kinds_of_secrets
from console.api.signed_in import Viewer
from console.operations import Operations
from console.resources import Recorded, Use
from console.shapes.confirmed import SPELLINGS, ConnectionShape, ConnectionState, HealthStatus
from console.shapes.ground import Message
from shared.catalog import Connection
from shared.run import PipelineState

router = APIRouter(prefix="/connections", tags=["connections"])


def _shaped(operations: Operations, found: list[Recorded[Connection]]) -> list[ConnectionShape]:
    uses = operations.resources.uses_of_connections()
    return [_shape(one, uses.get(one.resource.id)) for one in found]


def _shape(found: Recorded[Connection], use: Use | None) -> ConnectionShape:
    connection = found.resource
    secrets = kinds_of_secrets(connection)
    secret = {path.removeprefix("config.") for path in secrets}
    faults = () if use is None else use.faults
    return ConnectionShape(
        id=connection.id,
        name=connection.name,
        state=_state(use),
        status=HealthStatus.FAULTED if faults else HealthStatus.HEALTHY,
        errors=tuple(Message(message=fault) for fault in faults),
        service_provider=SPELLINGS[connection.service_provider],
        config=connection.config.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=secret),
        secrets=secrets,
        **authors(found.record),
    )


def _state(use: Use | None) -> ConnectionState:
    if use is None:
        return ConnectionState.NEW
    return ConnectionState.ACTIVE if PipelineState.ACTIVE in use.states else ConnectionState.INACTIVE


_KNOWN: Final = Kind(Connection, ConnectionShape, _shaped, answered=("state", "status", "errors"))


@router.get("", responses=responses())
def list_connections(
    operations: Viewer,
    provider: Annotated[str | None, Query(alias="serviceProvider", description="of this provider, in any case")] = None,
) -> list[ConnectionShape]:
    """List the connections by id."""
    wanted = None if provider is None else provider.casefold()
    found = operations.resources.all(Connection)
    return _shaped(operations, [one for one in found if wanted in {None, one.resource.service_provider.value}])


add_routes(router, _KNOWN, "connection")
