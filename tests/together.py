"""Which tests stay in one process where several share them: those that use what is too dear to have twice.

That is the deployment of the tests of the whole system, whose ten processes keep a core busy and whose tests say what
happens within seconds of a blow; and each stand-in with an environment of its own, the largest of them with a JVM.
Every other test goes to whichever process is free. Not by ``xdist_group``: what pytest-xdist 3.8 writes into a test's
id for that, pytest 9.2 no longer reads (pytest-xdist#1386).
"""

import re
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

_OF_ITS_OWN = re.compile(r"tests/system/test_(rolling_restart)\.py")
"""Files of the whole system whose tests have a deployment of their own."""
_APART = re.compile(r"tests/(?:conformance|warehouses|system)/.*\b(snowflake|bigquery|databricks)\b")


def scheduling(config: pytest.Config, log: Any) -> Any:
    """Give what hands out the largest group first, then single tests in the order in which they were found."""
    made = LoadScopeScheduling(config, log)
    made._split_scope = lambda nodeid: group_of(nodeid) or nodeid
    return made


def group_of(nodeid: str) -> str | None:
    """Give the name of the group that a test belongs to, if it belongs to one."""
    if apart := _APART.match(nodeid):
        return apart[1]
    if own := _OF_ITS_OWN.match(nodeid):
        return own[1]
    return "system" if nodeid.startswith("tests/system/") else None
