"""The HTTP API: mParticle's Warehouse Sync API v2, and what it lacks. A skin over the verbs."""
