"""Rows to mParticle batches: read the columns, check the rows, find who shares a batch, write the text.

A user's row becomes a batch without events, an event's row a batch of one event or a share of one. Columns are worked
on whole; no good row becomes a Python object on the way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from shared.catalog import NullPolicy
from shared.columns import warehouse_type
from shared.errors import ColumnMissing, MappingRefused
from shared.findings import PLAN
from shared.ledger import RejectCode
from shared.limits import MOST_EVENT_NAMES, Beyond
from shared.mapping.destinations import USER_ATTRIBUTES, ValueType
from shared.mapping.meanings import why_not
from shared.mapping.paths import dotted
from shared.mapping.plan import EVENT_TIME, Constant, MappingPlan, Path
from worker.mparticle.assemble import Texts, place
from worker.mparticle.check import Checks, blame, find, too_large
from worker.mparticle.columns import Column, joined
from worker.mparticle.event_names import BeyondLimit, NamesUsed
from worker.mparticle.event_rows import EventRows
from worker.mparticle.finding import Finding
from worker.mparticle.judge import Judge
from worker.mparticle.limits import note, within_limits
from worker.mparticle.named import within_names
from worker.mparticle.needs import Fields
from worker.mparticle.objects import why_no_objects
from worker.mparticle.outline import Outline, Shape, opening, outline
from worker.mparticle.prepared import EncodedRows, Prepared, Written
from worker.mparticle.read import read
from worker.mparticle.shares import Mask, Positions, Shares, apart, together
from worker.mparticle.typed import instants_ms
from worker.mparticle.user_rows import UserRows
from worker.mparticle.values import field_texts, numbers_written

_OUTLINES_KEPT: Final = 64
_TOO_MANY_NAMES: Final = f"the workspace has {MOST_EVENT_NAMES:,} other names of events and screens"


@dataclass(frozen=True, slots=True)
class Merging:
    """Which rows may share a batch, as a run freezes it.

    Attributes:
        max_events: The most events of one batch; with 1 each event has its own.
        users: Whether rows of one user, equal in all identities, become one batch.
        historical_before_ms: Events older than this, in ms since 1970, go to the historical endpoint.
    """

    max_events: int = 1
    users: bool = False
    historical_before_ms: int | None = None


APART: Final = Merging()


class Encoder:
    """Turns rows of one query into batches, as a run's mapping plan, checks and merge limits say.

    The same rows, plan, checks and limits always give the same bytes. Not safe for use by several threads at once.
    """

    def __init__(
        self, plan: MappingPlan, *, checks: Checks, merging: Merging = APART, judge: Judge | None = None
    ) -> None:
        named = within_names(plan, checks)
        self._plan = plan = named.plan
        self._named = named.noted
        self._checks = checks
        self._judge = judge
        self._merging = merging
        self._schema: Any = None
        self._outlines: dict[tuple[Shape, ...], Outline] = {}
        conditional = [constant for constant in plan.constants if constant.event_types]
        self._always = [constant for constant in plan.constants if not constant.event_types]
        self._conditional: Sequence[Constant] = conditional
        self._paths: Sequence[Path] = [leaf.path for leaf in plan.leaves] + [one.path for one in conditional]

    def encode(self, rows: Any, *, chunk_id: str, first_row: int = 0, age: Positions | None = None) -> EncodedRows:
        """Check and write all rows of a chunk; see :meth:`prepare`."""
        return self.prepare(rows, chunk_id=chunk_id, first_row=first_row, age=age).write()

    def prepare(
        self,
        rows: Any,
        *,
        chunk_id: str,
        first_row: int = 0,
        age: Positions | None = None,
        beyond: BeyondLimit | None = None,
    ) -> Prepared:
        """Read and check the rows of a chunk, and find which of them share a batch.

        Args:
            rows: ``pa.Table`` or ``pa.RecordBatch``; columns that the plan does not name are ignored.
            chunk_id: The chunk's id; the batch of the row at position p has the id ``chunk_id:p``, one that several
                rows share that of the oldest.
            first_row: The position in the chunk of the first of the rows.
            age: Orders the rows of a user from old to new; without it, as they stand.
            beyond: Says which names of events are beyond the workspace's limit; without it, none is.

        Raises:
            ColumnMissing: a column of the plan is not in the rows, or is there twice.
            MappingRefused: a column has changed to a type that has no meaning for its field.
        """
        self._expect(rows.schema)
        count = rows.num_rows
        columns = [read(leaf, joined(rows.column(leaf.column))) for leaf in self._plan.leaves]
        limited = within_limits(self._plan, self._of_their_types(columns, count), self._checks)
        fields = limited.fields
        found = find(self._plan, fields, self._checks, beyond=limited.beyond)
        rejects = blame(found, first_row=first_row)
        noted = {**limited.noted}
        self._note_names(noted, fields)
        texts = [field_texts(leaf.value, column) for leaf, column in zip(fields.leaves, fields.columns, strict=True)]
        texts += [_constant_texts(constant, fields) for constant in self._conditional]
        good = np.ones(count, dtype=np.bool_)
        good[[reject.row - first_row for reject in rejects]] = False
        positions = np.arange(first_row, first_row + count)
        drawn = self._outline(texts)
        start = opening(chunk_id)
        digits, digits_of = numbers_written(positions)
        written: Written
        if drawn.event is None:
            is_newest_only = self._plan.on_null is not NullPolicy.OMIT
            identities = [text for leaf, text in zip(self._plan.leaves, texts, strict=False) if leaf.is_identity]
            numbers = Texts(digits, digits_of, None)
            written = UserRows(drawn, texts, start, numbers, identities, is_newest_only=is_newest_only)
        else:
            masks = drawn.masks(texts)
            heads = place(drawn.head, texts, masks, rows=count).as_array()
            events = place(drawn.event, texts, masks, rows=count).as_array()
            written = EventRows(start, digits, digits_of, heads, events)
        fits = written.sizes <= self._checks.batch_max_bytes
        if not (fits | ~good).all():
            rejects = (*rejects, *too_large(positions[good & ~fits], self._checks))
            good &= fits
        for finding in (*self._beyond(fields, good, beyond, noted), *self._violations(written, good, noted)):
            rejects = (*rejects, *blame([replace(finding, rows=finding.rows & good)], first_row=first_row))
            good &= ~finding.rows
        later = self._is_historical(fields)
        shares = self._shares(written, good, later, age)
        return Prepared(
            written,
            shares=Shares(shares.order + first_row, shares.bounds),
            good=good,
            later=later,
            first_row=first_row,
            rejects=tuple(sorted(rejects, key=lambda reject: reject.row)),
            noted={name: np.flatnonzero(rows) + first_row for name, rows in noted.items()},
        )

    def _expect(self, schema: Any) -> None:
        if self._schema is not None and schema.equals(self._schema):
            return
        for leaf in self._plan.leaves:
            found = schema.get_all_field_indices(leaf.column)
            if len(found) != 1:
                raise ColumnMissing(
                    f"column {leaf.column!r}, which goes to {dotted(leaf.path)}, is in the rows {len(found)} times, "
                    f"expected once; their columns are {schema.names}. Has the data model's query changed?"
                )
            column = schema.field(found[0])
            if leaf.value is ValueType.OBJECTS:
                reason = why_no_objects(leaf, column.type)
            else:
                reason = why_not(leaf.value, column.type, is_identity=leaf.is_identity)
            if reason is not None:
                raise MappingRefused(f"column {leaf.column!r} has become {warehouse_type(column)}: {reason}")
        self._schema = schema

    def _of_their_types(self, columns: Sequence[Column], rows: int) -> Fields:
        """Let a column have values only in rows with events of its types."""
        all_rows = Fields(self._plan.leaves, self._plan.constants, columns, rows)
        if not any(leaf.event_types for leaf in self._plan.leaves):
            return all_rows
        own = [
            column.where(all_rows.of_types(leaf.event_types))
            for leaf, column in zip(self._plan.leaves, columns, strict=True)
        ]
        return Fields(self._plan.leaves, self._plan.constants, own, rows)

    def _note_names(self, noted: dict[str, Mask], fields: Fields) -> None:
        """Note the rows that have an attribute whose name is too long."""
        for number, setting in self._named:
            present = fields.columns[number].present
            rows = np.ones(fields.rows, dtype=np.bool_) if present is None else present
            note(noted, setting, getattr(self._checks.limits, setting), rows)

    def _beyond(
        self, fields: Fields, good: Mask, beyond: BeyondLimit | None, noted: dict[str, Mask]
    ) -> Iterator[Finding]:
        """Find the rows whose event has a name beyond the workspace's limit."""
        if beyond is None or not self._plan.has_events:
            return
        used = NamesUsed.of(fields, good)
        rows = used.rows_of(beyond(used.names))
        if rows is None:
            return
        if self._checks.limits.distinct_names is Beyond.REJECT:
            yield Finding(RejectCode.TOO_MANY_EVENT_NAMES, _TOO_MANY_NAMES, rows)
        else:
            note(noted, "distinct_names", self._checks.limits.distinct_names, rows)

    def _violations(self, written: Written, good: Mask, noted: dict[str, Mask]) -> Iterator[Finding]:
        """Judge every good row by the data plan, as a batch of its own."""
        if self._judge is None:
            return
        rows = np.flatnonzero(good)
        bounds, data = written.batches(rows, np.arange(len(rows)), rows)
        batches = (data[start : end - 1] for start, end in pairwise(bounds.tolist()))
        for rule, violating in self._judge.broken(batches).items():
            mask = np.zeros(len(good), dtype=np.bool_)
            mask[rows[violating]] = True
            noted[PLAN + rule] = mask
            if self._judge.is_strict:
                yield Finding(RejectCode.PLAN_VIOLATION, rule, mask)

    def _shares(self, written: Written, good: Mask, later: Mask, age: Positions | None) -> Shares:
        """Find who shares a batch, by rows counted from 0."""
        count = len(good)
        keys = self._keys(written, good)
        if keys is None:
            if not later.any():
                return apart(count)
            keys = np.arange(count)
        return together(
            np.where(good, 2 * keys + later, -1),
            written.shared_sizes,
            written.base_sizes,
            max_rows=self._merging.max_events if written.has_events else count,
            max_bytes=self._checks.batch_max_bytes,
            later=later & good,
            age=np.zeros(count, dtype=np.int64) if age is None else age,
        )

    def _keys(self, written: Written, good: Mask) -> npt.NDArray[np.int64] | None:
        """Number the rows by whose batch they may share; None where nobody shares."""
        if written.has_events:
            return written.numbered(good) if self._merging.max_events > 1 else None
        if not self._merging.users or sum(self._is_attribute()) > self._checks.max_attributes:
            return None
        return written.numbered(good)

    def _is_historical(self, fields: Fields) -> Mask:
        before = self._merging.historical_before_ms
        old = np.zeros(fields.rows, dtype=np.bool_)
        if before is not None:
            for leaf, column in zip(fields.leaves, fields.columns, strict=True):
                if leaf.path == EVENT_TIME:
                    old = instants_ms(column) < before
                    old = old if column.present is None else old & column.present
        return old

    def _is_attribute(self) -> list[bool]:
        return [path[0] == USER_ATTRIBUTES for path in self._paths]

    def _outline(self, texts: Sequence[Texts]) -> Outline:
        shapes = tuple(Shape.of(text) for text in texts)
        known = self._outlines.get(shapes)
        if known is None:
            if len(self._outlines) >= _OUTLINES_KEPT:
                self._outlines.clear()
            known = outline(self._paths, self._always, self._plan.on_null, shapes)
            self._outlines[shapes] = known
        return known


def _constant_texts(constant: Constant, fields: Fields) -> Texts:
    """Give a constant as a column: it is said in some rows only."""
    index = np.zeros(fields.rows, dtype=np.int32)
    return Texts(pa.array([b""]), index, fields.of_types(constant.event_types), orjson.dumps(constant.value))
