"""What the doctor found. Ours alone."""

from typing import Self

from pydantic import Field

from console.examining.finding import Finding
from console.shapes.ground import Shape


class FindingShape(Shape):
    """One thing that was looked at."""

    subject: str
    is_well: bool
    found: str
    cure: str | None = Field(description="what to do about it; null where it is well")

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Give a finding's shape."""
        return cls(subject=finding.subject, is_well=finding.is_well, found=finding.found, cure=finding.cure)
