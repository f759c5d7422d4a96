"""The tasks that plan, extract, upload and settle runs."""
