"""The app: every router under mParticle's base path, failures in its shape, and a description that others can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI

from console.api import (
    answering,
    backfills,
    connections,
    data_models,
    doctor,
    feeds,
    field_transformations,
    health,
    pipeline_runs,
    pipelines,
    probes,
    questions,
    rejects,
    reviews,
    runs,
    signing_in,
)
from console.operations import Operations
from shared.access import Identity

BASE: Final = "/platform/v2/workspaces/{workspaceId}"
"""Source: mParticle, Warehouse Sync API v2, base URI."""

_ROUTERS: Final[tuple[APIRouter, ...]] = (
    connections.router,
    data_models.router,
    field_transformations.router,
    feeds.router,
    pipelines.router,
    pipeline_runs.router,
    runs.router,
    backfills.router,
    rejects.router,
    probes.router,
    reviews.router,
    doctor.router,
)


def build_api(operations: Operations, *, local: Identity | None = None) -> FastAPI:
    """Build the app over some verbs; ``local`` is who asks where this process is its own only client."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        operations.close()

    app = FastAPI(
        title="Warehouse Sync",
        version="2",
        summary="mParticle's Warehouse Sync API v2, served from your own machines",
        # Its pages load scripts from elsewhere, and they would have to be open to everybody.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.operations = operations
    app.state.local = local
    answering.install(app)
    questions.install(app)
    app.include_router(health.router)
    app.include_router(signing_in.router)
    for router in _ROUTERS:
        app.include_router(router, prefix=BASE)
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """Give the app's OpenAPI document."""
    return app.openapi()
