"""Stores: record files (the truth), their SQLite index, OpenSearch, the posting service, and the spool between them."""
