"""What the doctor found. Ours alone."""

from pydantic import Field

from console.shapes.ground import Shape


class FindingShape(Shape):
    """One thing that was looked at."""

    subject: str
    is_well: bool
    found: str
    cure: str | None = Field(description="what to do about it; null where it is well")
