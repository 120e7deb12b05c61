"""Tests of the stores with a real OpenSearch."""
