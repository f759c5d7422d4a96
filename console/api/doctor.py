"""``/doctor``: is everything there that a sync needs, as this server sees it?"""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query

from console.api.answering import responses
from console.api.places import asking
from console.api.signed_in import Operator
from console.doctor import Finding, examine
from console.shapes.findings import FindingShape

router = APIRouter(tags=["doctor"], dependencies=[asking])

WITHIN_S: Final = 80.0
"""Nothing is begun after that. What was begun ends within a probe's time, so clients that wait two minutes hear it."""


@router.get("/doctor", responses=responses())
def examine_deployment(
    operations: Operator,
    connection_id: Annotated[
        str | None, Query(alias="connectionId", description="this one and its pipelines only")
    ] = None,
) -> list[FindingShape]:
    """Look at the services, the workers, each connection's sign-in and each pipeline's columns, one after the other."""
    deadline = time.monotonic() + WITHIN_S
    found: list[Finding] = []
    for finding in examine(operations, connection_id):
        found.append(finding)
        if time.monotonic() >= deadline:
            found.append(
                Finding(
                    "doctor",
                    f"{WITHIN_S:g} s were not enough to look at everything",
                    "ask about one connection at a time, or run `warehouse-sync doctor` where the server runs",
                )
            )
            break
    return [FindingShape.of(one) for one in found]
