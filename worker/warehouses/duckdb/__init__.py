"""DuckDB, embedded: files on this machine."""
