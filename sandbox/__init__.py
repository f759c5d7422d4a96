"""Everything a sync needs, on one machine: servers, a supervisor and a stand-in mParticle."""
