"""What travels over the HTTP API: what mParticle's documents confirm, what they do not, and what is ours."""
