"""What the documents say is what the code says."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from console.limits import limits_table
from shared import errors
from shared.mapping.destinations import RESERVED
from shared.run import RejectCode
from shared.schedule import Schedule

ROOT = Path(__file__).resolve().parent.parent


def test_every_limit_stands_in_one_table() -> None:
    assert limits_table() in (ROOT / "docs" / "limits.md").read_text(), "run `make limits`"


def test_every_error_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    families = {"SyncError", "Transient", "Refused", "Broken"}
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)} - families
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in page] == []


def test_every_reject_code_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    assert [code for code in RejectCode if f"`{code.value}`" not in page] == []


def test_every_reserved_column_is_named() -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    absent = [name for name in RESERVED if not re.search(rf"`{name}`", page) and not name.startswith("other_id_")]
    assert absent == []


def test_every_example_of_a_schedule_can_be_declared() -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    examples = [yaml.safe_load(block)["schedule"] for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    declared = [TypeAdapter[Schedule](Schedule).validate_python(example) for example in examples]
    assert {schedule.type for schedule in declared} == {"interval", "cron", "once", "on_demand"}


PAGES = sorted(str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_document_links_to_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
