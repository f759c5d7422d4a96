"""mParticle's own JSON Schema of a batch, as a judge of ours."""

import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

_VARIABLE = "WAREHOUSE_SYNC_MPARTICLE_SCHEMA"
_DEFAULT = Path(__file__).parents[4] / "shared" / "reference" / "mparticle.inbound.eventsapi.schema.json"


@pytest.fixture(scope="session")
def batch_schema() -> Draft7Validator:
    """The schema mParticle publishes for checking batches before sending; it is not ours to copy."""
    path = Path(os.environ.get(_VARIABLE, _DEFAULT))
    if not path.is_file():
        missing = (
            f"{path} is not there; download mparticle.inbound.eventsapi.schema.json from docs.mparticle.com/schema/ "
            f"and name its path in {_VARIABLE}"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return Draft7Validator(json.loads(path.read_text()))
