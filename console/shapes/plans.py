"""Shapes of pipelines as code: what a document would change, and whether it can be. Ours alone."""

from typing import Any

from pydantic import Field

from console.planning import Action, Change, FieldChange, Plan
from console.shapes.ground import Message, Shape


class FieldShape(Shape):
    """One field that changes; of a secret, and of a data plan's document, only that it does."""

    path: str
    before: Any = None
    after: Any = None
    is_shown: bool = True


class ChangeShape(Shape):
    """What becomes of one declaration."""

    kind: str = Field(description="feed, connection, data model, field transformation or pipeline")
    id: str
    action: Action
    fields: tuple[FieldShape, ...]
    notes: tuple[str, ...] = Field(description="what people should know of it")
    kept_secrets: tuple[str, ...] = Field(description="secrets that stay as the deployment has them, by path")
    refusal: str | None = Field(description="why it cannot be; then nothing at all is done")
    error_kind: str | None


class PlanShape(Shape):
    """What a document changes, in the order in which it is done."""

    changes: tuple[ChangeShape, ...]
    digest: str = Field(description="another plan has it only if it does the same to the same; see `expected`")
    is_empty: bool = Field(description="whether nothing changes")
    is_refused: bool = Field(description="whether something cannot be, so that nothing is done")

    @classmethod
    def of(cls, plan: Plan) -> "PlanShape":
        """Give a plan's shape."""
        return cls(
            changes=tuple(_change(one) for one in plan.changes),
            digest=plan.digest,
            is_empty=plan.is_empty,
            is_refused=bool(plan.refused),
        )

    def plan(self) -> Plan:
        """Give the plan again, but for what its digest is made of."""
        return Plan(
            tuple(
                Change(
                    kind=one.kind,
                    id=one.id,
                    action=one.action,
                    fields=tuple(FieldChange(it.path, it.before, it.after, it.is_shown) for it in one.fields),
                    notes=one.notes,
                    kept_secrets=one.kept_secrets,
                    refusal=one.refusal,
                    error_kind=one.error_kind,
                )
                for one in self.changes
            )
        )


class ValidationShape(Shape):
    """Whether a document could be applied; if not, all that is wrong with it."""

    is_valid: bool
    errors: tuple[Message, ...]
    plan: PlanShape | None = Field(description="what applying it would change; null where it cannot even be read")


def _change(change: Change) -> ChangeShape:
    return ChangeShape(
        kind=change.kind,
        id=change.id,
        action=change.action,
        fields=tuple(
            FieldShape(path=one.path, before=one.before, after=one.after, is_shown=one.is_shown)
            for one in change.fields
        ),
        notes=change.notes,
        kept_secrets=change.kept_secrets,
        refusal=change.refusal,
        error_kind=change.error_kind,
    )
