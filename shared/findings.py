"""What was found out about a run's rows beside where they ended, counted in rows by a fixed name.

A row that was cut, or sent though it is beyond a limit or against its data plan, ends as accepted; the ledger cannot
tell. Findings can. No name holds anything of a row: the names are those below, a limit's setting with what became of it
(``attribute_value_truncated``), or a rule of the pipeline's data plan behind :data:`PLAN`.
"""

from collections.abc import Mapping
from typing import Final

PLAN: Final = "plan: "
"""In front of a data plan's rule."""
RULES_KEPT: Final = 50
"""Rules of a plan that a run counts apart; a plan may have thousands."""
OTHER_RULES: Final = f"{PLAN}other rules"
ROWS_MERGED: Final = "rows_merged"


def together(counted: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Add findings to those that a run has; rules beyond the first :data:`RULES_KEPT` become one."""
    added = dict(counted)
    room = RULES_KEPT - sum(_is_rule(name) for name in added)
    for name, rows in sorted(more.items()):
        kept = name
        if _is_rule(name) and name not in added:
            kept = name if room > 0 else OTHER_RULES
            room -= 1
        added[kept] = added.get(kept, 0) + rows
    return added


def told(findings: Mapping[str, int], *, most: int = 10) -> str:
    """Give findings as a sentence's end, the most rows first."""
    ordered = sorted(findings.items(), key=lambda found: (-found[1], found[0]))
    said = [f"{name} ({rows:,})" for name, rows in ordered[:most]]
    if len(ordered) > most:
        said.append(f"and {len(ordered) - most} more")
    return ", ".join(said)


def _is_rule(name: str) -> bool:
    return name.startswith(PLAN) and name != OTHER_RULES
