"""Shapes of what mParticle's API does not have: ours alone."""

from console.shapes.ground import Audited
from shared.catalog import ProtectionLevel


class FeedShape(Audited):
    """An mParticle input: where batches go. Its secret is never in an answer, and a part of its key only."""

    id: str
    name: str
    base_url: str
    api_key: str
    input_protection_level: ProtectionLevel
    quota_group: str
    batches_per_s: float
    workspace: str
    gzip: bool
