"""The state database: one module per kind of row."""
