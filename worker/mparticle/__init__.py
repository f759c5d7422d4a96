"""From rows to mParticle: encode, check, pack, send."""
