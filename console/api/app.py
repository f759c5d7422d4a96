"""The app: every router under mParticle's base path, failures in its shape, and a description that others can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.types import Lifespan

from console.api import (
    access,
    alerts,
    answering,
    backfills,
    connections,
    data_models,
    declarations,
    doctor,
    feeds,
    field_transformations,
    health,
    metrics,
    pipeline_runs,
    pipelines,
    places,
    probes,
    rejects,
    reviews,
    runs,
    sealed_secrets,
    signing_in,
)
from console.api.describing import described
from console.api.gate import Gate, Own
from console.api.signed_in import identified
from console.operations import Operations
from shared.access import Identity

BASE: Final = "/platform/v2/workspaces/{workspaceId}"
"""Source: mParticle, Warehouse Sync API v2, base URI."""

_ROUTERS: Final[tuple[APIRouter, ...]] = (
    connections.router,
    data_models.router,
    field_transformations.router,
    feeds.router,
    access.router,
    sealed_secrets.router,
    declarations.router,
    pipelines.router,
    pipeline_runs.router,
    runs.router,
    backfills.router,
    rejects.router,
    probes.router,
    reviews.router,
    alerts.router,
    doctor.router,
)


def build_api(operations: Operations, *, local: Identity | None = None) -> FastAPI:
    """Build the app over some verbs; ``local`` is who asks where this process is its own only client."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        operations.close()

    app = _routed(lifespan)
    app.state.operations = operations
    if local is None:
        app.add_middleware(Gate, identify=partial(identified, operations))
    else:
        app.add_middleware(Own, who=local)
    return app


def describe() -> dict[str, Any]:
    """Give the API's OpenAPI document; needs no server and no database."""
    return _routed(None).openapi()


def _routed(lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    app = described(lifespan=lifespan)
    answering.install(app)
    places.install(app)
    app.include_router(health.router)
    app.include_router(signing_in.router)
    app.include_router(metrics.router)
    for router in _ROUTERS:
        app.include_router(router, prefix=BASE)
    return app
