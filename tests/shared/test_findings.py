"""Findings add up, and never to more names than a run can show."""

from hypothesis import given
from hypothesis import strategies as st

from shared.findings import OTHER_RULES, PLAN, RULES_KEPT, together, told

_NAMES = st.sampled_from(["attribute_value_truncated", "rows_merged"]) | st.integers(0, 80).map(lambda n: f"{PLAN}{n}")


@given(st.lists(st.dictionaries(_NAMES, st.integers(1, 9), max_size=40), max_size=6))
def test_nothing_that_was_found_is_lost_and_rules_stay_few(parts: list[dict[str, int]]) -> None:
    counted: dict[str, int] = {}
    for part in parts:
        counted = together(counted, part)
    assert sum(counted.values()) == sum(rows for part in parts for rows in part.values())
    assert sum(name.startswith(PLAN) and name != OTHER_RULES for name in counted) <= RULES_KEPT


def test_what_is_no_rule_is_always_kept_apart() -> None:
    full = together({}, {f"{PLAN}{number}": 1 for number in range(60)})
    assert full[OTHER_RULES] == 10
    assert together(full, {"rows_merged": 2, f"{PLAN}new": 3, f"{PLAN}0": 4}) == full | {
        "rows_merged": 2,
        OTHER_RULES: 13,
        f"{PLAN}0": 5,
    }


def test_the_greatest_are_told_first() -> None:
    assert told({"b": 1, "a": 1, "c": 2_000}) == "c (2,000), a (1), b (1)"
    assert told({str(number): 1 for number in range(12)}, most=2) == "0 (1), 1 (1), and 10 more"
