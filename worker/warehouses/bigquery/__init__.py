"""BigQuery, through its vendor's own client."""
