"""A mapping that contradicts itself is refused when it is declared."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.transformation import FieldMapping, FieldTransformation

COLUMN: dict[str, Any] = {"mapping_type": "column", "source": "a", "destination": "ip"}
STATIC: dict[str, Any] = {"mapping_type": "static", "destination": "ip", "value": "::1"}
IGNORE: dict[str, Any] = {"mapping_type": "ignore", "source": "a"}


@pytest.mark.parametrize("mapping", [COLUMN, STATIC, IGNORE, {**STATIC, "source": None}, {**IGNORE, "value": None}])
def test_a_mapping_of_each_type_comes_back_as_it_was(mapping: dict[str, Any]) -> None:
    declared = FieldMapping.model_validate(mapping)
    assert FieldMapping.model_validate(declared.model_dump(mode="json")) == declared


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({**COLUMN, "source": None}, "column needs a source"),
        ({**COLUMN, "destination": None}, "column needs a destination"),
        ({**COLUMN, "value": 1}, "column has no value"),
        ({**STATIC, "source": "a"}, "static has no source"),
        ({**STATIC, "destination": None}, "static needs a destination"),
        ({**STATIC, "value": None}, "static needs a value"),
        ({**IGNORE, "destination": "ip"}, "ignore has no destination"),
        ({**IGNORE, "source": None}, "ignore needs a source"),
        ({**COLUMN, "mapping_type": "rename"}, "mapping_type"),
        ({**COLUMN, "source": ""}, "source"),
        ({**STATIC, "value": float("inf")}, "give a finite number"),
        ({**STATIC, "value": float("nan")}, "give a finite number"),
        ({**STATIC, "value": 2**63}, "64 bits at most"),
        ({**STATIC, "value": -(2**63) - 1}, "64 bits at most"),
        ({**STATIC, "value": ["a"]}, "value"),
        ({**STATIC, "value": "a\0"}, r"U\+0000"),
        ({**COLUMN, "colour": "red"}, "colour"),
    ],
)
def test_a_mapping_is_refused_by_what_is_wrong(mapping: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FieldMapping.model_validate(mapping)


@pytest.mark.parametrize("value", [True, False, 0, 1, 2**63 - 1, -(2**63), -1.5, "", "true", "1"])
def test_a_static_value_keeps_its_type(value: object) -> None:
    found = FieldMapping.model_validate({**STATIC, "value": value}).value
    assert (found, type(found)) == (value, type(value))


def test_only_batches_of_events_are_made() -> None:
    with pytest.raises(ValidationError, match="destination_type"):
        FieldTransformation.model_validate(
            {"id": "a", "name": "A", "destination_type": "user_batch", "mappings": [IGNORE]}
        )
    with pytest.raises(ValidationError, match="mappings"):
        FieldTransformation.model_validate({"id": "a", "name": "A", "mappings": []})
