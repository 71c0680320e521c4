"""Files of rows that are told to a service: read, sent in batches, noted, and gone on with where a run stood."""
