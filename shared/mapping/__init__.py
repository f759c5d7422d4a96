"""From warehouse columns to mParticle fields."""
