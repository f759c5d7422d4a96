"""Snowflake, through its vendor's own client."""
