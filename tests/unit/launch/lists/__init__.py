"""Test lists, without a cluster."""
