"""Named bytes at rest, in a local folder or a bucket: what the spool is made of."""
