"""An mParticle input as operators declare it: where batches go, as whom, and whose quota they spend."""

import re
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from shared.fields import WEB_ADDRESS, Declared, SecretReference, Slug, Title


class ProtectionLevel(StrEnum):
    """mParticle's input protection level: a property of the input, recorded here and never set from here."""

    CREATE_AND_UPDATE = "create_and_update"
    UPDATE_ONLY = "update_only"
    READ_ONLY = "read_only"


class Feed(Declared):
    """An mParticle input: where batches go, and as whom."""

    id: Slug
    name: Title
    base_url: str = Field(description="up to and including /v2, e.g. https://s2s.us1.mparticle.com/v2")
    api_key: Annotated[str, Field(min_length=1, description="the input's key; mParticle forgets ids per key")]
    api_secret: SecretReference
    input_protection_level: ProtectionLevel = ProtectionLevel.CREATE_AND_UPDATE
    quota_group: Slug = Field("default", description="the mParticle account whose quota this feed spends")
    batches_per_s: Annotated[float, Field(gt=0)] = Field(
        270, description="the account's quota; 270 is mParticle's default"
    )
    workspace: Slug = Field(
        "default", description="the mParticle workspace whose names of events and screens count together"
    )
    gzip: bool = Field(
        default=False, description="send bodies compressed; mParticle does not say whether it takes them"
    )

    @model_validator(mode="after")
    def _is_a_web_address(self) -> Self:
        if not re.fullmatch(WEB_ADDRESS, self.base_url):
            raise ValueError(
                "base_url: expected something like https://s2s.us1.mparticle.com/v2, without user, query or fragment"
            )
        if self.base_url.startswith("http:") and self.is_at_mparticle:
            raise ValueError("base_url: mParticle is reached by https only; http would show the secret to everybody")
        return self

    @property
    def host(self) -> str:
        """The host that the feed's secret is shown to."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_at_mparticle(self) -> bool:
        """Whether the host is one of mParticle's own."""
        return self.host == "mparticle.com" or self.host.endswith(".mparticle.com")
