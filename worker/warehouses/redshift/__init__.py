"""Redshift, through its vendor's own client."""
