"""CSV cells that a spreadsheet program would compute instead of showing them.

Rejected rows hold what strangers wrote, and people open CSV in spreadsheets, where ``=HYPERLINK(...)`` runs. So a text
that begins like a formula gets an apostrophe before it, always: whoever needs every character exactly has Parquet and
JSON Lines, which are never touched, and a flag would be forgotten when it counts. A number stays one, as text, too.

Source: OWASP, "CSV Injection": =, +, -, @, tab, carriage return, line feed, and the full-width forms of the first four.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

_LIKE_A_FORMULA: Final = r"^[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 - these are meant
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_SHOWN: Final = "'"
"""What has a spreadsheet show the rest of a cell as it is."""


def shown_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give texts as none of them is computed; NULL stays NULL."""
    begins = pc.match_substring_regex(column, _LIKE_A_FORMULA)
    is_formula = pc.and_not(begins, pc.match_substring_regex(column, _NUMBER))
    return pc.if_else(is_formula, pc.binary_join_element_wise(_SHOWN, column, ""), column)


def heading(name: str) -> str:
    """Give a column's name as it is not computed: queries choose names, too."""
    (shown,) = shown_as_text(pa.chunked_array([pa.array([name], pa.string())])).to_pylist()
    return str(shown)
