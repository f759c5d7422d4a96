"""Migrations of the state database: expand first, contract a release later."""
