"""Requests made up from the API's own description: every answer is one that the description names.

No worker runs here; what asks one is answered with 503, as described.
"""

from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from console.api.app import build_api, describe
from console.operations import Operations
from shared.access import Role

EXAMPLES: Final = 4
"""Of each operation; more are for a night."""
CONFIG: Final = SchemathesisConfig.from_dict(
    {
        "checks": {
            # What the description has no words for: which columns are there, which names are taken.
            "positive_data_acceptance": {"enabled": False},
            # Unknown fields are ignored and told, and not refused.
            "negative_data_rejection": {"enabled": False},
            "not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", "503", "504", "505"]},
        }
    }
)


class Served:
    """The app of the test that runs now; operations are known long before it is built."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


served = Served()
schema = schemathesis.openapi.from_dict(describe(), config=CONFIG)
schema.app = served


@pytest.fixture
def token(operations: Operations) -> str:
    served.app = build_api(operations)
    return operations.access.create_token("schemathesis", Role.ADMIN).text


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_every_answer_is_described(case: Any, token: str) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {token}"})
