"""Shapes that no stored copy of mParticle's v2 documents shows: v1's, and a reconstruction. Correct them here.

Source: mParticle, Warehouse Sync API v1 (complete) and what its v2 guide names; where both are silent, our spelling.
"""

from typing import Any, Literal

from console.shapes.ground import Audited


class DataModelShape(Audited):
    """A data model; ``secret_columns`` is ours."""

    id: str
    name: str
    type: Literal["sql"]
    sql_query: str
    secret_columns: tuple[str, ...]


class FieldTransformationShape(Audited):
    """A field transformation; its format is confirmed. Source: mParticle, "Field Transformations"."""

    id: str
    name: str
    destination_type: Literal["event_batch"]
    mappings: tuple[dict[str, Any], ...]
