"""Redshift, through its vendor's own client and a server-side cursor."""
