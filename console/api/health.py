"""``/healthz``: whether this process serves, for whoever balances load; it tells nothing else, and needs no token."""

from fastapi import APIRouter, Depends, Request

from console.api.signed_in import identity
from console.shapes.ground import Shape

router = APIRouter(tags=["health"])


class Health(Shape):
    """That this process serves."""

    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Health:
    """Say that this process serves; whether all it needs is there, the doctor says."""
    # Needs no thread, which may all be waiting for answers of workers.
    return Health()


@router.get("/openapi.json", dependencies=[Depends(identity)], include_in_schema=False)
def openapi(request: Request) -> dict[str, object]:
    """Give the description of this API."""
    found: dict[str, object] = request.app.openapi()
    return found
