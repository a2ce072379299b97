"""SQL over the records and over database files, read-only."""
