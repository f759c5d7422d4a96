"""One JSON value as text, without losing a digit (pure)."""

from decimal import Decimal
from typing import Any

import orjson


def as_text(value: Any) -> str:
    """Give a value as ``orjson`` writes it exactly, or as it was read from JSON with decimals; a text is itself."""
    return value if isinstance(value, str) else orjson.dumps(value, default=exact).decode()


def exact(value: Decimal) -> orjson.Fragment:
    """Give a decimal as a number with all its digits, never with an exponent."""
    return orjson.Fragment(format(value, "f"))
