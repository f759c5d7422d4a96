"""What the documents say is what the code says."""

import re
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pydantic import TypeAdapter

from console.declarations import Declarations
from console.destinations import destinations_table
from console.limits import limits_table
from shared import errors
from shared.broker_rights import SUFFICES
from shared.catalog import Environment, NullPolicy
from shared.ledger import RejectCode
from shared.mapping.compile_events import compile_event_mapping
from shared.mapping.destinations import RESERVED
from shared.schedule import Schedule

ROOT = Path(__file__).resolve().parent.parent


def test_every_limit_stands_in_one_table() -> None:
    assert limits_table() in (ROOT / "docs" / "limits.md").read_text(), "run `make limits`"


def test_every_destination_stands_in_one_table() -> None:
    assert destinations_table() in (ROOT / "docs" / "destinations.md").read_text(), "run `make destinations`"


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


ITEM = pa.struct(
    [
        ("id", pa.string()),
        ("name", pa.string()),
        ("price", pa.decimal128(9, 2)),
        ("quantity", pa.int32()),
        ("custom_attributes", pa.struct([("size", pa.string())])),
    ]
)
OTHER_THAN_TEXT = {"total": pa.decimal128(9, 2), "price": pa.float64(), "items": pa.list_(ITEM)}


def test_every_example_of_events_can_be_declared_and_its_mapping_fits_its_query() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for declared in (Declarations.model_validate(yaml.safe_load(example)) for example in examples):
        (model,), (transformation,) = declared.data_models, declared.field_transformations
        names = re.sub(r"SELECT (.*)\nFROM .*", r"\1", model.sql_query.strip()).split(", ")
        types = [
            pa.timestamp("us") if name.endswith("_at") else OTHER_THAN_TEXT.get(name, pa.string()) for name in names
        ]
        plan = compile_event_mapping(
            pa.schema(list(zip(names, types, strict=True))),
            transformation,
            environment=Environment.DEVELOPMENT,
            on_null=NullPolicy.OMIT,
            iterator="loaded_at",
        )
        assert plan.has_events
    assert len(examples) == 4


PAGES = sorted(str(page.relative_to(ROOT)) for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_document_links_to_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_rights_that_the_brokers_user_needs_are_those_that_the_doctor_names() -> None:
    assert SUFFICES in (ROOT / "docs" / "reviewing.md").read_text()
