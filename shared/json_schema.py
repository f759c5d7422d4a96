"""JSON Schema in the draft whose keywords mParticle lists, and what in a document is none (pure).

Its library takes longer to import than all that reads declarations, and few pipelines have a data plan: so
:mod:`shared.dataplan` imports this module where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jsonschema import Draft201909Validator

SCHEMA_OF: Final = Draft201909Validator


@dataclass(frozen=True, slots=True)
class Flaw:
    """Where a document is no JSON Schema, and the keyword of JSON Schema's own rules that says so."""

    path: tuple[str | int, ...]
    keyword: str


def flaw_of(schema: Mapping[str, Any]) -> Flaw | None:
    """Give the first flaw of what should be a JSON Schema, or ``None`` where it is one."""
    rules = SCHEMA_OF(SCHEMA_OF.META_SCHEMA, format_checker=SCHEMA_OF.FORMAT_CHECKER)
    error = next(rules.iter_errors(schema), None)
    return None if error is None else Flaw(tuple(error.absolute_path), str(error.validator))
