"""``/secrets``: which keys sealed secrets need, and moving them to the current one. Ours; for admins.

No answer holds a secret; what is stored of each, its declaration tells (``secrets``).
"""

from fastapi import APIRouter

from console.api.answering import responses
from console.api.places import asking
from console.api.signed_in import Admin
from console.shapes.sealed_secrets import RotationShape, SecretsShape

router = APIRouter(prefix="/secrets", tags=["secrets"])


@router.get("", responses=responses())
def show_secrets(operations: Admin) -> SecretsShape:
    """Say which keys are needed, and for which secrets."""
    found = operations.secrets.status()
    return SecretsShape(
        current_key=found.current,
        by_key=dict(found.by_key),
        old_keys=tuple(sorted(found.old)),
        references=found.references,
    )


@router.post("/rotation", responses=responses(504), dependencies=[asking])
def rotate_secrets(operations: Admin) -> RotationShape:
    """Have a worker seal every sealed secret anew, to the current key; a repeat finds nothing left to do."""
    done = operations.secrets.rotate()
    return RotationShape(resealed=done.resealed, already=done.already, failed=done.failed)
