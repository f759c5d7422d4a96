"""Which tests one process runs where several share them."""

import pytest

from tests.together import group_of


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/system/test_events.py::test_old_events[3]", "system"),
        ("tests/system/test_rolling_restart.py::test_a_restart", "rolling_restart"),
        ("tests/system/test_warehouses.py::test_users_are_synced[redshift]", "system"),
        ("tests/system/test_warehouses.py::test_users_are_synced[databricks-2]", "databricks"),
        ("tests/conformance/test_types.py::test_a_type[bigquery-DATE]", "bigquery"),
        ("tests/conformance/test_types.py::test_a_type[redshift-DATE]", None),
        ("tests/warehouses/snowflake/test_queries.py::test_a_query", "snowflake"),
        ("tests/worker/warehouses/snowflake/test_failures.py::test_a_failure", None),
        ("tests/shared/test_sql.py::test_a_window", None),
    ],
)
def test_what_is_dear_stays_together(nodeid: str, group: str | None) -> None:
    assert group_of(nodeid) == group
