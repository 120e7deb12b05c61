"""OpenSearch, through its own client library (extra ``opensearch``)."""
