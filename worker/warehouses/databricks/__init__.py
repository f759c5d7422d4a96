"""Databricks, through its vendor's own client."""
