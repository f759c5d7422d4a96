"""``/feeds``: mParticle's inputs, which its own API keeps elsewhere; a resource of ours."""

from typing import Final

from fastapi import APIRouter

from console.api.answering import responses
from console.api.declared import Kind, add_routes, authors, kinds_of_secrets
from console.api.signed_in import Viewer
from console.operations import Operations
from console.resources import Recorded
from console.shapes.extensions import FeedShape
from shared.feed import Feed

router = APIRouter(prefix="/feeds", tags=["feeds"])


def _shaped(_: Operations, found: list[Recorded[Feed]]) -> list[FeedShape]:
    return [
        FeedShape(
            **one.resource.model_dump(exclude={"api_secret"}),
            secrets=kinds_of_secrets(one.resource),
            **authors(one.record),
        )
        for one in found
    ]


_KNOWN: Final = Kind(Feed, FeedShape, _shaped)


@router.get("", responses=responses())
def list_feeds(operations: Viewer) -> list[FeedShape]:
    """List the feeds by id."""
    return _shaped(operations, operations.resources.all(Feed))


add_routes(router, _KNOWN, "feed")
