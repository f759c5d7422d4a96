"""``POST /oauth/token``: client credentials for a bearer token, as mParticle's sign-in service takes them.

Source: mParticle, Warehouse Sync API, "Authentication".
"""

from fastapi import APIRouter, Request

from console.api.answering import responses
from console.operations import Operations
from console.shapes.confirmed import TokenAnswer, TokenRequest
from shared.errors import DeclarationInvalid

router = APIRouter(tags=["sign-in"])


@router.post("/oauth/token", responses={name: told for name, told in responses(429).items() if name not in {403, 404}})
def sign_in(request: Request, asked: TokenRequest) -> TokenAnswer:
    """Give a bearer token for 8 hours."""
    if asked.grant_type != "client_credentials":
        raise DeclarationInvalid(f"grant_type: expected client_credentials, got {asked.grant_type!r}")
    operations: Operations = request.app.state.operations
    address = request.client.host if request.client is not None else "unknown"
    given = operations.access.sign_in(asked.client_id, asked.client_secret, address)
    return TokenAnswer(access_token=given.token, expires_in=given.expires_in_s)
