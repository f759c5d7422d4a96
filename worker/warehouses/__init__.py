"""Where rows come from: one module per warehouse."""
