"""What a field transformation's mappings name: columns of the query and fields of a batch.

Each mapping that finds both, or a field and a value, is a claim on that field. What they do not find, and what two of
them claim at once, are reasons against the whole transformation.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from shared.columns import warehouse_type
from shared.mapping.compile import shown
from shared.mapping.entries import named_like
from shared.mapping.paths import Place, Unknown, dotted, find
from shared.mapping.plan import Path
from shared.transformation import FieldMapping, FieldTransformation, MappingType, StaticValue

_PATH_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Claim:
    """A field of a batch, and the column or the value that fills it.

    Attributes:
        place: The field.
        name: The column's, as the query spells it; None for a value.
        column: The column (``pa.Field``), where the query is known.
        value: What every batch has there, instead of a column.
    """

    place: Place
    name: str | None = None
    column: Any | None = None
    value: StaticValue | None = None

    def __str__(self) -> str:
        """Name it as a reason begins: what goes where."""
        return f"{self.source} to {shown(str(self.place), _PATH_CHARS)}"

    @property
    def source(self) -> str:
        """Name the column, or say that it is a value."""
        if self.name is None:
            return "the static value"
        column = f"column {shown(self.name)}"
        return column if self.column is None else f"{column} ({warehouse_type(self.column)})"


@dataclass(slots=True)
class Claims:
    """What the mappings of a transformation claim, and the reasons against some of them.

    ``lost`` are the reasons why columns, by their names, go nowhere; ``mapped`` how each is mapped.
    """

    all: list[Claim] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    mapped: defaultdict[str, set[MappingType]] = field(default_factory=lambda: defaultdict(set))


def claims_of(schema: Any, transformation: FieldTransformation, *, iterator: str | None) -> Claims:
    """Find the columns and the fields that mappings name.

    Args:
        schema: Arrow schema (``pa.Schema``) of the query's result; None where only the mappings are known.
        transformation: The mappings.
        iterator: The iterator column, which alone needs no mapping; compared without regard to case.
    """
    claims = Claims()
    names = [] if schema is None else list(schema.names)
    for mapping in transformation.mappings:
        name = mapping.source
        if name is not None and schema is not None:
            name = named_like(name, names)
        if name is not None:
            claims.mapped[name].add(mapping.mapping_type)
        elif mapping.source is not None:
            claims.reasons.append(_no_column(mapping.source, names))
        if mapping.destination is not None:
            column = None if name is None or schema is None else schema.field(name)
            _claim(claims, mapping, mapping.destination, name, column)
    uncovered = [name for name in names if name not in claims.mapped and name.casefold() != (iterator or "").casefold()]
    if uncovered:
        claims.reasons.append(
            f"no mapping covers column {', '.join(map(shown, uncovered))}: map it, or leave it out with a mapping of "
            "the type ignore"
        )
    claims.reasons += [
        f"column {shown(name)} is mapped and ignored; remove one of these mappings"
        for name, kinds in claims.mapped.items()
        if kinds == {MappingType.COLUMN, MappingType.IGNORE}
    ]
    claims.reasons += _collisions(claims.all)
    return claims


def _claim(claims: Claims, mapping: FieldMapping, destination: str, name: str | None, column: Any | None) -> None:
    place = find(destination)
    if isinstance(place, Unknown):
        source = "the static value" if mapping.source is None else f"column {shown(mapping.source)}"
        reason = f"its destination {shown(destination, _PATH_CHARS)} {place.reason}"
        claims.reasons.append(f"{source}: {reason}")
        if name is not None:
            claims.lost[name] = reason
    elif mapping.source is None or name is not None:
        claims.all.append(Claim(place, name, column, mapping.value))


def _no_column(source: str, names: Sequence[str]) -> str:
    alike = [name for name in names if name.casefold() == source.casefold()]
    if alike:
        return f"column {shown(source)} may be any of {', '.join(map(shown, alike))}; spell it as one of them"
    nearest = get_close_matches(source, names, 1, 0.0)
    also = f"; the nearest that it has is {shown(nearest[0])}" if nearest else ""
    return f"the query has no column {shown(source)}{also}"


def _collisions(claims: Sequence[Claim]) -> list[str]:
    by_path: defaultdict[Path, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_path[claim.place.path].append(claim)
    reasons = [
        f"{', '.join(claim.source for claim in several)} all go to {shown(dotted(path), _PATH_CHARS)}; keep one of "
        "these mappings"
        for path, several in by_path.items()
        if len(several) > 1
    ]
    for path, (claim, *_) in by_path.items():
        outer = next((path[:depth] for depth in range(1, len(path)) if path[:depth] in by_path), None)
        if outer is not None:
            reasons.append(
                f"{claim} and {by_path[outer][0]}: one is inside of the other; keep the whole, or only its parts"
            )
    return reasons
