"""What a query's result looks like: an Arrow schema whose fields know the warehouse's own type.

Arrow has one type for instants where a warehouse may have two, and text for what a warehouse calls JSON. So every
field says in its metadata what the warehouse calls its type: operators are shown that word, and a window's bounds are
bound as exactly that type.
"""

from typing import Any, Final

import pyarrow as pa

_KEY: Final = b"warehouse_type"

JSON: Final = pa.json_(pa.string())
"""Semi-structured values, as their JSON text: VARIANT, OBJECT, ARRAY, SUPER, JSON."""


def column(name: str, arrow_type: Any, warehouse_type: str) -> Any:
    """Give the field (``pa.Field``) of one column, always nullable."""
    return pa.field(name, arrow_type, metadata={_KEY: warehouse_type.encode()})


def warehouse_type(field: Any) -> str:
    """Give the warehouse's own word for a field's type, or Arrow's where there is none."""
    word: bytes = (field.metadata or {}).get(_KEY, b"")
    return word.decode() or str(field.type)
