"""Snowflake, through its own client: results as Arrow, in parts that can be read again by the query's id."""
