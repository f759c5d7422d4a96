"""Every limit as a table: what it is set to, its unit, its default and why."""

from pathlib import Path

from shared.settings import PREFIX, Settings

_UNITS = {
    "_s": "seconds",
    "_bytes": "bytes",
    "_rows": "rows",
    "_batches": "batches",
    "_events": "events",
    "_chunks": "chunks",
    "_ratio": "share",
}


def limits_table() -> str:
    """Give all settings as a Markdown table, with the defaults of this version."""
    lines = ["| variable | default | unit | why |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "count")
        is_number = isinstance(field.default, int | float)
        shown = (f"`{PREFIX}{name.upper()}`", _shown(field.default), unit if is_number else "", field.description or "")
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    match default:
        case None | ():
            return "unset"
        case int():
            return f"{default:,}"
        case float():
            return f"{default:,.10g}"
        case str() | Path():
            return f"`{default}`"
        case _:
            return str(default)
