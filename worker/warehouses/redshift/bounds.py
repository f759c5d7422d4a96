"""A window's ends as Redshift is given them: as parameters in the column's own type, or written out.

Parameters are always tried first. PostgreSQL takes them in DECLARE, and it could not be found out whether every
Redshift does; one that refuses is given the same instants, dates and numbers as literals. They are ours, never a
row's, and of kinds that need no escaping.
"""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from shared.sql import Bound, Query


def as_parameter(bound: Bound) -> object:
    """Give a bound as the Python type that the client sends as the column's own; integers are told apart later."""
    is_numeric = bound.warehouse_type.startswith("numeric")
    return Decimal(bound.value) if is_numeric and isinstance(bound.value, int) else bound.value


def written_out(query: Query) -> str:
    """Give the query's text with its bounds as literals of their columns' types.

    Only the last line holds parameters: what stands before is the model's own, in which a ``$1`` means something else.
    """
    model, end, condition = query.text.rpartition("\n")
    literals: Mapping[str, str] = {
        f"${number}": _literal(bound.value) for number, bound in enumerate(query.parameters.values(), 1)
    }
    return model + end + re.sub(r"\$\d+", lambda found: literals[found[0]], condition)


def _literal(value: datetime | date | int) -> str:
    if isinstance(value, datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return f"'{value.isoformat(sep=' ')}'::{kind}"
    if isinstance(value, date):
        return f"'{value.isoformat()}'::DATE"
    return str(value)
