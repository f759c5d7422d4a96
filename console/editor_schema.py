"""The JSON Schema of declarations in YAML, for editors: names, meanings and choices while one types.

It follows from the models that judge a document, with what only files may say: a data plan's file, the word ``stored``
for a secret, names in any case. It knows less than they do; what it refuses, they refuse.
"""

import json
from collections.abc import Iterable
from typing import Any, Final

from console.declarations import Declarations
from shared.catalog import IteratorType, ServiceProvider
from shared.schedule import Frequency
from shared.secret_fields import STORED

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "^(env:"
_TOLD_BY_TYPE: Final = ("Incremental", "Full", "Interval", "Cron", "Once", "OnDemand")
_CONFIGS: Final = {
    ServiceProvider.DUCKDB: "DuckDbConfig",
    ServiceProvider.SNOWFLAKE: "SnowflakeConfig",
    ServiceProvider.BIGQUERY: "BigQueryConfig",
    ServiceProvider.REDSHIFT: "RedshiftConfig",
    ServiceProvider.DATABRICKS: "DatabricksConfig",
}
_BOUNDS_OF_DURATIONS: Final = ("gt", "ge", "lt", "le")
_TYPE_ALIASES: Final = ("timestamp_ltz", "timestamptz", "datetime")


def editor_schema() -> dict[str, Any]:
    """Give the schema (draft 2020-12)."""
    schema = Declarations.model_json_schema(by_alias=True)
    known = schema["$defs"]
    _take_any_case(known["IteratorType"], [*IteratorType, *_TYPE_ALIASES])
    _take_any_case(known["Frequency"], Frequency)
    _take_any_case(known["ServiceProvider"], ServiceProvider)
    for name in _TOLD_BY_TYPE:
        known[name]["required"] = ["type", *known[name].get("required", ())]
    _let_provider_decide(known)
    _allow_files(known["DataPlan"])
    known["PipelineEntry"]["title"] = "Pipeline"
    _mend(schema)
    return {
        "$schema": _DRAFT,
        **schema,
        "title": "Warehouse Sync: declarations",
        "description": "Feeds, connections, data models, field transformations and pipelines; see docs/as-code.md",
    }


def schema_text() -> str:
    """Give the schema as the text of its file."""
    return json.dumps(editor_schema(), indent=2, ensure_ascii=False) + "\n"


def _take_any_case(known: dict[str, Any], values: Iterable[str]) -> None:
    """Offer the names as they are written, and take them in any case and by the names that mean the same."""
    pattern = _any_case(values)
    known["anyOf"] = [{"enum": known.pop("enum")}, {"pattern": pattern}]


def _any_case(values: Iterable[str]) -> str:
    """Give a pattern of the values in any case; not every reader of schemas knows a flag for that."""
    spelled = ("".join(f"[{char.upper()}{char}]" if char.isalpha() else char for char in value) for value in values)
    return f"^({'|'.join(spelled)})$"


def _let_provider_decide(known: dict[str, Any]) -> None:
    """Say what ``config`` holds by the provider beside it, where people write it."""
    connection = known["Connection"]
    described = connection["properties"]["config"].get("description")
    connection["properties"]["config"] = {"type": "object", **({"description": described} if described else {})}
    connection["allOf"] = [
        {
            "if": {"properties": {"service_provider": {"pattern": _any_case([provider])}}},
            "then": {"properties": {"config": {"$ref": f"#/$defs/{config}"}}},
        }
        for provider, config in _CONFIGS.items()
    ]
    for config in _CONFIGS.values():
        del known[config]["properties"]["service_provider"]


def _allow_files(plan: dict[str, Any]) -> None:
    plan["properties"]["document_file"] = {
        "title": "Document File",
        "type": "string",
        "description": "a JSON file with the document, by its path from this file",
    }
    plan.pop("required")
    plan["oneOf"] = [{"required": ["document"]}, {"required": ["document_file"]}]


def _mend(part: Any) -> None:
    """Let ``stored`` stand wherever a reference may, and leave out what no reader of schemas knows."""
    if isinstance(part, list):
        for inside in part:
            _mend(inside)
    if not isinstance(part, dict):
        return
    pattern, described = part.get("pattern"), part.get("description")
    if isinstance(described, str):
        part["description"] = described.replace("``", "`")
    if isinstance(pattern, str) and pattern.startswith(_REFERENCE):
        part["pattern"] = f"^({STORED}|{pattern.removeprefix('^(')}"
        part["description"] = f"{described}, or {STORED}: keep what the deployment has"
    if "anyOf" in part:  # Bounds of durations, which stand beside the forms that a duration has.
        for bound in _BOUNDS_OF_DURATIONS:
            part.pop(bound, None)
    for inside in part.values():
        _mend(inside)
