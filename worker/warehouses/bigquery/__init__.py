"""BigQuery: jobs over REST, rows over the Storage Read API."""
