"""Shapes of the state of sealed secrets: ours alone, and never a secret itself."""

from pydantic import Field

from console.shapes.ground import Shape


class SecretsShape(Shape):
    """Which keys are needed for which secrets."""

    current_key: str | None = Field(
        description="the id of the key that secrets are sealed to; null: none is configured"
    )
    by_key: dict[str, tuple[str, ...]] = Field(description="where sealed secrets stand, by the id of their key")
    old_keys: tuple[str, ...] = Field(description="keys that workers must still hold, until POST /secrets/rotation")
    references: int = Field(description="how many secrets are env: or file: references, which need no key")


class RotationShape(Shape):
    """What became of the sealed secrets."""

    resealed: int
    already: int = Field(description="were sealed to the current key before")
    failed: tuple[str, ...] = Field(description="why others could not be; the workers still need their keys")
